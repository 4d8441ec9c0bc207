//! The words of the pages about reading tasks.

use super::text::texts;

texts! {
    Texts;
    title: "Reading", "判读";
    text: "What is to be read, the most urgent first.", "待判读的检查，最紧急的在前。";
    live: "Live", "实时";
    lost: "Connection lost; trying again", "连接中断，正在重试";
    open: "Open", "待认领";
    claimed: "Being read", "判读中";
    done: "Done", "已完成";
    cancelled: "Cancelled", "已取消";
    all_live: "To do", "待办";
    all: "All", "全部";
    state: "State", "状态";
    priority: "Priority", "优先级";
    stat: "STAT", "危急";
    high: "High", "高";
    medium: "Medium", "中";
    low: "Low", "低";
    modality: "Modality", "模态";
    body_part: "Body part", "部位";
    hospital: "Hospital", "医院";
    subspecialty: "Subspecialty", "亚专业";
    reader: "Reader", "判读医生";
    mine: "Mine", "我的";
    due: "Due", "截止时间";
    overdue: "Overdue", "已超时";
    soon: "Due soon", "即将到期";
    arriving: "Arriving", "接收中";
    late: "late images", "幅迟到影像";
    given: "Handed out to others", "委托他院";
    received: "To read here", "本机构判读";
    show: "Show", "查询";
    reset: "Reset", "重置";
    none: "Nothing to read", "没有待判读的检查";
    none_text: "Studies appear here by themselves when a rule wants them, or when somebody asks for a reading.", "符合规则或被申请判读的检查会自动出现在这里。";
    patient: "Patient", "患者";
    study: "Study", "检查";
    actions: "Actions", "操作";
    claim: "Claim", "认领";
    release: "Give back", "退回";
    finish: "Finish", "完成";
    reopen: "Open again", "重新打开";
    cancel: "Cancel reading", "取消判读";
    assign: "Assign", "分配";
    prioritise: "Set priority", "设置优先级";
    second: "Ask for a second reading", "申请复核";
    is_second: "Second reading", "复核";
    see_late: "Late images were looked at", "已查看迟到影像";
    discrepancy: "Discrepancy", "符合度";
    no_discrepancy: "None", "无差异";
    minor: "Minor", "轻微差异";
    major: "Major", "重大差异";
    note: "Reason", "原因";
    images: "Open images", "打开影像";
    views: "Saved views", "已存视图";
    keep: "Save this view", "保存此视图";
    view_name: "Name", "名称";
    forget: "Forget", "删除";
    workload: "Workload", "工作量";
    now_reading: "Reading", "在读";
    today: "Done in 24 hours", "24 小时内完成";
    priors: "Earlier studies of this patient", "该患者的既往检查";
    others: "Perhaps the same patient, elsewhere", "其他机构中可能为同一患者的检查";
    others_text: "Same name, birth date and sex. Make sure before you compare.", "姓名、出生日期和性别相同，比较前请核实。";
    no_priors: "No earlier studies that you may see.", "没有您可查看的既往检查。";
    history: "History", "操作记录";
    question: "Clinical question", "临床问题";
    made_by: "Asked for by", "来源";
    gone: "The study is no longer shared with you, or was deleted.", "该检查已不再共享，或已被删除。";
    taken: "Somebody else reads it already: ", "已被他人认领：";
    not_allowed: "This is not yours to do.", "您无权执行此操作。";
    wrong_state: "The task has changed meanwhile: ", "任务状态已改变：";
    same_reader: "Whoever read first cannot be the second reader.", "首次判读者不能做复核。";
    second_asked: "A second reading was asked for already.", "已申请过复核。";
    no_reader: "Nobody of that name reads here.", "没有此判读医生。";
    nothing_late: "No late images wait to be seen.", "没有待查看的迟到影像。";
    unreadable: "Something in the form is not right.", "表单填写有误。";
    rules: "Reading rules", "判读规则";
    rules_text: "A rule makes a reading task of each study that fits. Of several, the one with the most conditions decides.", "规则为符合条件的检查生成判读任务；多条规则同时符合时，条件最多的生效。";
    no_rules: "No rules yet: tasks are made by request only.", "尚无规则，只能手动申请判读。";
    rule_name: "Name", "名称";
    conditions: "Conditions", "条件";
    description: "Description", "描述";
    source: "Calling AE title", "发送方 AE 标题";
    station: "Station", "设备";
    asked: "Priority of the order", "申请单优先级";
    to: "Read by", "判读机构";
    here: "This institution", "本机构";
    due_minutes: "Minutes until due", "时限（分钟）";
    see_priors: "Earlier studies shown to a reader elsewhere", "向外院展示的既往检查";
    priors_none: "None", "不展示";
    priors_related: "Same modality or body part", "同模态或同部位";
    priors_all: "All", "全部";
    days: "Days of access (0: no end)", "共享天数（0 为不限）";
    add_rule: "Add rule", "添加规则";
    switch_off: "Switch off", "停用";
    switch_on: "Switch on", "启用";
    remove: "Remove", "删除";
    off: "Off", "已停用";
    request: "Ask for a reading", "申请判读";
    request_text: "The study becomes a task on the worklist of whoever is to read it. A reader elsewhere is given access to this study.", "检查将进入判读机构的工作列表；若由外院判读，将向其开放此检查。";
    did_make: "made", "创建";
    did_complete: "study complete", "检查接收完成";
    did_late: "late images came", "收到迟到影像";
    did_rule: "a rule fits better", "更合适的规则生效";
    did_claim: "claimed", "认领";
    did_release: "gave back", "退回";
    did_assign: "assigned to", "分配给";
    did_prioritise: "set the priority", "设置优先级";
    did_second: "asked for a second reading", "申请复核";
    did_discrepancy: "noted the discrepancy", "记录符合度";
    did_cancel: "cancelled", "取消";
    did_reopen: "opened again", "重新打开";
    did_finish: "finished", "完成";
    did_see_late: "looked at the late images", "查看迟到影像";
    keys: "Keys: j and k move, Enter opens the task, o opens the images, c claims, / goes to the filters.", "快捷键：j、k 移动，回车打开任务，o 打开影像，c 认领，/ 转到筛选。";
    previous: "Previous", "上一页";
    next: "Next", "下一页";
}

/// A word of a form, and what people call it.
type Choice = (&'static str, &'static str);

impl Texts {
    /// Priorities, the most urgent first.
    pub(super) fn priorities(&self) -> [Choice; 4] {
        [("stat", self.stat), ("high", self.high), ("medium", self.medium), ("low", self.low)]
    }

    /// Priorities, the usual one first.
    pub(super) fn priorities_usual(&self) -> [Choice; 4] {
        [("medium", self.medium), ("stat", self.stat), ("high", self.high), ("low", self.low)]
    }

    /// States that a list can be narrowed to.
    pub(super) fn states(&self) -> [Choice; 5] {
        [
            ("open", self.open),
            ("claimed", self.claimed),
            ("done", self.done),
            ("cancelled", self.cancelled),
            ("all", self.all),
        ]
    }

    /// What the clock can say.
    pub(super) fn dues(&self) -> [Choice; 2] {
        [("overdue", self.overdue), ("soon", self.soon)]
    }

    /// What a second look can find.
    pub(super) fn discrepancies(&self) -> [Choice; 3] {
        [("none", self.no_discrepancy), ("minor", self.minor), ("major", self.major)]
    }

    /// Which earlier studies a reader elsewhere sees.
    pub(super) fn shown_priors(&self) -> [Choice; 3] {
        [("related", self.priors_related), ("all", self.priors_all), ("none", self.priors_none)]
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_key_is_written_in_both_languages() {
        super::super::text::tests::check(super::PAIRS);
    }
}
