//! The words of `/routes` in both languages.

use super::text::{Texts, texts};

texts! {
    RouteTexts;
    text: "Studies that arrive here are sent on by these rules, to DICOM devices and to DICOMweb services.", "到达本服务器的检查按以下规则转发到 DICOM 设备与 DICOMweb 服务。";
    none: "Nothing is sent on", "没有转发规则";
    what: "Which", "范围";
    all: "Everything", "全部";
    to: "Destination", "目的地";
    to_hint: "dicom:AE_TITLE or web:NAME; both are registered first, DICOMweb services on this page", "dicom:AE名称 或 web:名称；须先登记，DICOMweb 服务在本页登记";
    when: "When", "时机";
    settled: "when the study is complete", "检查收齐后";
    at_once: "as objects come", "收到即转发";
    window: "Time of the day", "时段";
    window_hint: "for example 22:00-06:00+08:00; without a distance it is UTC", "例如 22:00-06:00+08:00；不写时差则为 UTC";
    any_time: "any time", "全天";
    source: "Sending AE title", "来源 AE 名称";
    modality: "Modality", "检查类型";
    body_part: "Body part", "检查部位";
    station: "Station", "设备站名";
    description: "Description", "描述";
    words_hint: "* and ? stand for other characters; empty for all", "可用 * 和 ? 代表其他字符；留空表示全部";
    add: "Add a rule", "添加规则";
    bad: "A rule needs a destination, dicom:AE_TITLE or web:NAME, and a time of the day is written as 22:00-06:00+08:00.", "规则需要目的地（dicom:AE名称 或 web:名称）；时段写作 22:00-06:00+08:00。";
    unknown: "There is no such destination.", "没有这个目的地。";
    deliveries: "Deliveries", "转发记录";
    deliveries_text: "One study on its way to one destination, what changed last first.", "每行是一份检查到一个目的地的转发，最近变化的在前。";
    study: "Study", "检查";
    state: "State", "状态";
    waiting: "waiting", "等待中";
    sending: "on its way", "发送中";
    committing: "sent, waiting for commitment", "已发送，等待存储确认";
    committed: "committed", "已确认存储";
    commit: "Wait until the destination says that it keeps the objects (storage commitment)", "等待目的地确认已存储（存储确认）";
    kept: "Kept", "已确认";
    delivered: "delivered", "已送达";
    failed: "failed", "失败";
    sent: "Taken", "已接收";
    refused: "Refused", "被拒绝";
    words: "What went wrong last", "最近的问题";
    changed: "Changed", "更新时间";
    again: "Send again", "重新发送";
    next: "Next try", "下次尝试";
    web_title: "DICOMweb services", "DICOMweb 服务";
    web_none: "No service is registered.", "尚未登记服务。";
    web_name: "Name", "名称";
    web_url: "Address", "网址";
    web_url_hint: "https, to which /studies is added; addresses in networks of the server's own only as far as its operator allows", "https 网址，其后会加上 /studies；服务器自身网络内的地址须由运维人员允许";
    web_credentials: "Credentials", "凭据";
    web_open: "none", "无";
    web_token: "Token", "令牌";
    web_token_hint: "or login and password; they are kept and never shown", "或用户名与密码；保存后不再显示";
    web_login: "Login", "用户名";
    web_password: "Password", "密码";
    web_add: "Add or change a service", "添加或修改服务";
    web_trusted: "registered by the operator", "由运维人员登记";
    web_bad_name: "A name has 1 to 32 letters, digits, - and _.", "名称为 1 至 32 个字母、数字、- 或 _。";
    web_bad_url: "The address begins with https:// and has neither credentials nor a query.", "网址须以 https:// 开头，且不含凭据和查询部分。";
    web_inside: "The address is in a network of the server's own. Its operator may allow that (private_destinations).", "该地址位于服务器自身的网络内，须由运维人员允许（private_destinations）。";
    web_bad_secret: "Write either a token, or login and password, in printable ASCII characters.", "请填写令牌，或者用户名与密码，仅限可见 ASCII 字符。";
    web_needed: "There is no such service, or a rule needs it.", "没有此服务，或有规则正在使用它。";
}

impl RouteTexts {
    /// Those of the language of a page.
    pub(super) fn of(t: &Texts) -> &'static Self {
        if t.is_chinese() { &CHINESE } else { &ENGLISH }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_key_is_written_in_both_languages() {
        super::super::text::tests::check(super::PAIRS);
    }
}
