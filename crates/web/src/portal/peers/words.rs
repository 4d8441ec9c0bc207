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
    is_off: "Switched off: whom this row means is refused", "停用：拒绝该登记所指的设备";
    back: "All devices", "全部设备";
    bad_row: "A row needs at least one permission; its address is written as 10.1.2.3 or 10.1.0.0/16, and AE titles have 1 to 16 characters.", "登记至少需要一项权限；地址写作 10.1.2.3 或 10.1.0.0/16，AE 名称为 1 至 16 个字符。";
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
