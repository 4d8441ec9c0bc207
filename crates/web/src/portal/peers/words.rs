//! Words of the pages about single rows and destinations, in both languages. A key is a field, as in
//! `text.rs`.

use qianli_model::incident::Tongue;

use crate::portal::text::Texts;

macro_rules! words {
    ($($key:ident: $english:literal, $chinese:literal;)*) => {
        /// The words of one language.
        #[derive(Debug)]
        pub(in crate::portal) struct Words {
            $(pub $key: &'static str,)*
        }

        static ENGLISH: Words = Words { $($key: $english,)* };
        static CHINESE: Words = Words { $($key: $chinese,)* };

        #[cfg(test)]
        static PAIRS: &[(&str, &str, &str)] = &[$((stringify!($key), $english, $chinese),)*];
    };
}

impl Texts {
    /// The language, as the words of other crates know it.
    pub(in crate::portal) fn tongue(&self) -> Tongue {
        if self.is_chinese() { Tongue::Chinese } else { Tongue::English }
    }
}

impl Words {
    /// The words in the language of others.
    pub fn beside(texts: &Texts) -> &'static Self {
        if texts.is_chinese() { &CHINESE } else { &ENGLISH }
    }
}

words! {
    change: "Change", "修改";
    row_text: "What is changed here counts for associations that are open, too; other servers of the archive know it within five seconds. Another AE title is another row.", "修改对已打开的关联同样生效；归档的其他服务器在五秒内生效。若 AE 名称不同，请另行登记。";
    coercions: "How its objects are read", "如何读取该设备的对象";
    coercions_text: "For objects that come from now on: what is stored stays as it was sent, and only metadata and search follow this.", "仅对今后收到的对象生效：存储的内容保持原样，只影响元数据和检索。";
    charset: "Text without a character set", "未声明字符集的文本";
    charset_hint: "such as gb18030, euc-kr or shift_jis; empty: guessed", "例如 gb18030、euc-kr 或 shift_jis；留空则自动判断";
    charset_instead: "Text with a wrong single-byte character set", "单字节字符集声明有误的文本";
    charset_instead_hint: "what it really is; empty: as stated", "实际编码；留空则按声明读取";
    issuer: "Issuer of patient IDs that name none", "未注明签发方的患者编号";
    issuer_hint: "keeps patients of two hospitals with the same ID apart", "用于区分不同机构中编号相同的患者";
    without: "Private elements left out of metadata", "元数据中略去的私有元素";
    without_hint: "private creators, separated by commas; * for all, - for elements without a creator", "私有创建者，以逗号分隔；* 表示全部，- 表示无创建者的元素";
    is_off: "Switched off: whom this row means is refused", "停用：拒绝该登记所指的设备";
    back: "All devices", "全部设备";
    bad_row: "A row needs at least one permission; its address is written as 10.1.2.3 or 10.1.0.0/16, and AE titles have 1 to 16 characters.", "登记至少需要一项权限；地址写作 10.1.2.3 或 10.1.0.0/16，AE 名称为 1 至 16 个字符。";
    destination: "Destination", "目的地";
    destinations: "Destinations", "目的地";
    destinations_text: "Where devices are reached, by AE title: for moving studies, for routes and for forwarding. Who may call this server is above.", "按 AE 名称登记设备的地址，用于检索调阅（C-MOVE）、转发规则等。谁可以连接本服务器见上方。";
    destinations_none: "No destinations are registered.", "尚未登记目的地。";
    destination_add: "Add a destination", "添加目的地";
    destination_title: "Its AE title", "目的地的 AE 名称";
    destination_taken: "There is a destination of this title already: change it in the list.", "该 AE 名称的目的地已存在，请在列表中修改。";
    destination_needed: "A route sends studies there: remove the route first.", "有转发规则发送到此目的地，请先移除规则。";
    bad_destination: "A destination needs an AE title of 1 to 16 characters and an address such as 10.0.0.5:104, 1 to 32 associations, and UIDs of transfer syntaxes, if any. What listens on the server itself is registered by its operator.", "目的地需要 1 至 16 个字符的 AE 名称、形如 10.0.0.5:104 的地址、1 至 32 个关联；传输语法须填写 UID。服务器本机上的服务须由运维人员登记。";
    address: "Host and port", "主机与端口";
    associations: "Associations at a time", "并行关联数";
    bandwidth: "Bytes per second", "每秒字节数";
    bandwidth_hint: "0 for no limit", "0 表示不限";
    tls: "Call it over TLS", "使用 TLS 连接";
    tls_name: "Name in its certificate", "证书中的名称";
    tls_hint: "Empty for the host", "留空表示主机名";
    tls_own: "Empty for the host. Its authorities are those that the operator named.", "留空表示主机名。其证书颁发机构由运维人员指定。";
    syntaxes: "Transfer syntaxes", "传输语法";
    syntaxes_hint: "UIDs, the best first; empty for as stored", "UID，优先的在前；留空表示按存储的语法";
    only: "Only these transfer syntaxes", "仅限传输语法";
    only_hint: "Send it nothing in other transfer syntaxes", "不以其他传输语法发送";
    identity: "User identity", "用户身份";
    user: "User name that is shown to it", "向其出示的用户名";
    user_hint: "Empty for none", "留空表示不出示";
    password: "Password", "密码";
    has_password: "A password is set; empty keeps it.", "已设置密码，留空则保持不变。";
    has_token: "A token is set and stays; a user name takes its place.", "已设置令牌并保持不变；填写用户名则取而代之。";
    echo: "Ask whether it is there", "测试连接";
    answers: "answers", "已应答";
    remove: "Remove", "移除";
    taken: "Another row is for the same devices already.", "已有另一条登记指向相同的设备。";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_written_in_both_languages() {
        for (key, english, chinese) in PAIRS {
            assert!(!english.is_empty() && english.is_ascii(), "{key}");
            assert!(chinese.chars().any(|c| ('\u{4E00}'..='\u{9FFF}').contains(&c)), "{key}");
        }
    }
}
