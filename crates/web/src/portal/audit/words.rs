//! The words of the trail as people read them. What is stored stays in English, which exports show.

/// Stored word, English, Chinese.
const WORDS: &[(&str, &str, &str)] = &[
    ("store", "stored", "存储"),
    ("delete", "deleted", "删除"),
    ("restore", "restored", "恢复"),
    ("purge", "removed for good", "彻底清除"),
    ("settle conflict", "settled a conflict", "处理冲突"),
    ("search", "searched", "检索"),
    ("read metadata", "read headers", "读取头信息"),
    ("read pixels", "saw images", "查看影像"),
    ("read objects", "fetched objects", "获取对象"),
    ("read page", "opened a study", "打开检查"),
    ("export", "exported", "导出"),
    ("create workitem", "made a workitem", "新建工作项"),
    ("change workitem", "changed a workitem", "修改工作项"),
    ("read workitem", "read a workitem", "读取工作项"),
    ("change order", "changed orders", "修改检查申请"),
    ("read order", "read orders", "读取检查申请"),
    ("change reading", "changed reading tasks", "修改判读任务"),
    ("read reading", "read reading tasks", "读取判读任务"),
    ("subscribe", "subscribed", "订阅"),
    ("login", "logged in", "登录"),
    ("login failed", "could not log in", "登录失败"),
    ("logout", "logged out", "退出"),
    ("access denied", "was turned away", "访问被拒"),
    ("change user", "changed an account", "变更账号"),
    ("change role", "changed roles", "变更角色"),
    ("change token", "changed a token", "变更令牌"),
    ("change tenant", "changed a hospital", "变更机构"),
    ("change peer", "changed a DICOM device", "变更 DICOM 设备"),
    ("change route", "changed where studies are sent on", "变更影像转发"),
    ("change grant", "changed a share", "变更共享"),
    ("change link", "changed a link", "变更链接"),
    ("break glass", "broke the glass", "紧急调阅"),
    ("read audit", "read the audit trail", "查看审计记录"),
    ("start", "server started", "服务启动"),
    ("stop", "server stopped", "服务停止"),
    ("success", "done", "成功"),
    ("not found", "not found", "未找到"),
    ("refused", "refused", "被拒绝"),
    ("failed", "failed", "失败"),
];

/// Kinds of who did it.
const KINDS: &[(&str, &str, &str)] = &[
    ("person", "Person", "人员"),
    ("token", "Token", "令牌"),
    ("machine", "Program", "程序"),
    ("link", "Link", "链接"),
    ("peer", "DICOM device", "DICOM 设备"),
    ("local", "This machine", "本机"),
    ("system", "Server", "系统"),
    ("nobody", "Nobody known", "未登录者"),
];

fn among(
    table: &'static [(&'static str, &'static str, &'static str)],
    word: &str,
    english: bool,
) -> Option<&'static str> {
    let (_, in_english, in_chinese) = table.iter().find(|(known, ..)| *known == word)?;
    Some(if english { in_english } else { in_chinese })
}

/// An action or outcome for people.
pub(super) fn label(word: &'static str, english: bool) -> &'static str {
    among(WORDS, word, english).unwrap_or(word)
}

/// A kind of actor for people; `?` for one of a later release.
pub(super) fn kind(word: &str, english: bool) -> &'static str {
    among(KINDS, word, english).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use qianli_model::audit::{Action, Outcome};

    use super::*;

    #[test]
    fn every_word_has_its_translation() {
        let actions = Action::ALL.iter().map(|one| one.as_str());
        for word in actions.chain(Outcome::ALL.iter().map(|one| one.as_str())) {
            assert!(WORDS.iter().any(|(known, ..)| *known == word), "{word}");
        }
    }
}
