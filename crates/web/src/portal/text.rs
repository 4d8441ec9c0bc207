//! Every word of the pages in both languages. A key is a field, so a page that names a missing one
//! does not compile, and a key without both translations cannot be written.

mod words;

macro_rules! texts {
    ($texts:ident; $($key:ident: $english:literal, $chinese:literal;)*) => {
        /// The words of one language.
        #[derive(Debug)]
        pub(super) struct $texts {
            $(pub $key: &'static str,)*
        }

        /// English.
        pub(super) static ENGLISH: $texts = $texts { $($key: $english,)* };
        /// Simplified Chinese.
        pub(super) static CHINESE: $texts = $texts { $($key: $chinese,)* };

        #[cfg(test)]
        static PAIRS: &[(&str, &str, &str)] = &[$((stringify!($key), $english, $chinese),)*];
    };
}

pub(super) use texts;

impl Texts {
    /// Whether these are the Chinese words.
    pub fn is_chinese(&self) -> bool {
        std::ptr::eq(self, &raw const CHINESE)
    }
}

texts! {
    Texts;
    skip: "Skip to content", "跳到正文";
    brand_line: "Medical imaging server", "医学影像服务器";
    nav_label: "Main", "主导航";
    nav_home: "Overview", "概览";
    nav_studies: "Studies", "检查";
    nav_viewer: "Viewer", "阅片";
    language_label: "Language", "语言";
    footer: "Qianli, an open-source medical imaging server. Not a certified medical device.", "千里（Qianli）开源医学影像服务器。未取得医疗器械认证。";

    home_title: "Overview", "概览";
    total_patients: "Patients", "患者";
    total_studies: "Studies", "检查";
    total_series: "Series", "序列";
    total_instances: "Images and objects", "影像与对象";
    total_bytes: "Stored", "存储量";
    totals_label: "What is stored here", "存储概况";

    recent_title: "Latest studies", "最近的检查";
    recent_all: "All studies", "全部检查";
    empty_title: "Ready for the first study", "一切就绪，等待第一份检查";
    empty_text: "Nothing is stored yet. Send images with any of the ways on this page; they appear here as soon as they arrive.", "目前还没有影像。用本页任意一种方式发送影像，到达后立即显示在这里。";

    send_title: "Send images here", "把影像发送到这里";
    send_dicom: "DICOM", "DICOM";
    send_web: "DICOMweb", "DICOMweb";
    send_import: "Import", "导入";
    send_dicom_text: "Enter these three values at a modality, workstation or PACS:", "在设备、工作站或 PACS 中填写以下三项：";
    send_dicom_try: "Or try it from a shell with DCMTK:", "也可以用 DCMTK 在命令行试发：";
    send_dicom_why: "TCP_NODELAY=1 keeps DCMTK from waiting a moment before every image; it works with storescu and its other tools too. Files that are not DICOM are skipped.", "TCP_NODELAY=1 可避免 DCMTK 在每幅影像之前停顿，也适用于 storescu 等其他工具。非 DICOM 文件会被跳过。";
    send_web_text: "Any STOW-RS client can send to this address:", "任何 STOW-RS 客户端都可以发送到这个地址：";
    send_web_try: "With curl:", "使用 curl：";
    send_import_text: "On the server itself, a folder, a ZIP file or a disc:", "在服务器本机导入文件夹、ZIP 文件或光盘：";
    send_note: "An image is acknowledged only when it is safely stored and can be found.", "影像安全落盘并可检索之后，才会回复接收成功。";
    aet: "AE title", "AE 名称";
    host: "Host", "主机";
    port: "Port", "端口";
    dimse_off: "The DICOM listener is off; DICOMweb and import work.", "DICOM 监听未开启；可使用 DICOMweb 与导入。";
    copy: "Copy", "复制";

    state_title: "System", "系统状态";
    state_ready: "Ready", "正常";
    state_not_ready: "Not ready", "异常";
    state_database: "Database", "数据库";
    state_store: "Image store", "影像存储";
    state_version: "Version", "版本";
    state_viewer: "Viewer", "阅片器";
    state_viewer_on: "OHIF installed", "OHIF 已安装";
    state_viewer_off: "Not installed", "未安装";
    state_why: "The log of the server says more.", "详情请查看服务器日志。";

    studies_title: "Studies", "检查";
    search_label: "Search studies", "检索检查";
    field_name: "Patient name", "患者姓名";
    field_name_hint: "Name, in any script", "姓名，支持任意文字";
    field_id: "Patient ID", "患者编号";
    field_accession: "Accession number", "检查号";
    field_from: "From", "起始日期";
    field_to: "To", "截止日期";
    field_modality: "Modality", "检查类型";
    search: "Search", "检索";
    clear: "Clear", "清除";
    range_label: "Study date", "检查日期";
    range_any: "Any time", "不限";
    range_today: "Today", "今天";
    range_week: "7 days", "近 7 天";
    range_month: "30 days", "近 30 天";
    bad_date: "is no date and was left out. Dates are written as 2026-03-14.", "不是有效日期，已忽略。日期格式应为 2026-03-14。";
    unread: "Not understood and left out:", "无法识别以下条件，已忽略：";

    column_patient: "Patient", "患者";
    column_sex_birth: "Sex, birth date", "性别与出生日期";
    column_date: "Study date", "检查时间";
    column_modality: "Modality", "类型";
    column_description: "Description", "描述";
    column_content: "Content", "内容";
    column_actions: "Actions", "操作";
    open_viewer: "Open in viewer", "阅片";
    download: "Download (zip)", "下载（zip）";
    no_name: "No name", "未命名";
    no_description: "No description", "无描述";
    no_match: "No study matches", "没有符合条件的检查";
    no_match_text: "Change or clear the conditions above.", "请修改或清除上方的检索条件。";
    previous: "Previous", "上一页";
    next: "Next", "下一页";
    pages_label: "Pages", "分页";
    conflict: "Images of another patient arrived in this study. Check the patient before reading.", "该检查中混入了其他患者的影像，阅片前请核对患者身份。";
    conflict_short: "Patient conflict", "患者冲突";

    sex_male: "Male", "男";
    sex_female: "Female", "女";
    sex_other: "Other", "其他";

    study_title: "Study", "检查";
    back: "All studies", "返回列表";
    referrer: "Referring physician", "申请医生";
    received: "Last received", "最近一次接收";
    series_title: "Series", "序列";
    technical: "Identifiers and addresses", "标识与地址";
    study_uid: "Study Instance UID", "检查实例 UID";
    series_uid: "Series Instance UID", "序列实例 UID";
    web_address: "DICOMweb address", "DICOMweb 地址";
    metadata: "Metadata (JSON)", "元数据（JSON）";
    documents: "Documents of this series", "本序列的文档";
    more_documents: "more in the metadata", "其余见元数据";
    more_series: "Only the first series are shown; the viewer shows all.", "此处只显示部分序列，阅片器中可查看全部。";

    viewer_missing_title: "The viewer is not installed", "阅片器尚未安装";
    viewer_missing_text: "Qianli opens images in OHIF, an open-source viewer that is fetched separately. On the server, in the folder of the source code, run:", "千里使用开源阅片器 OHIF 打开影像，需要单独获取。请在服务器的源代码目录中运行：";
    viewer_missing_then: "Then start the server with the folder that it made:", "然后用生成的目录启动服务器：";

    api_title: "DICOMweb interface", "DICOMweb 接口";
    api_text: "What this server answers, made from the same table as the server itself. The number is the section of DICOM PS3.18.", "本服务器支持的全部接口，与服务器自身的路由表一致。数字为 DICOM PS3.18 的章节号。";
    api_root: "Address", "服务地址";
    api_documents: "For programs", "供程序读取";
    api_method: "Method", "方法";
    api_path: "Path", "路径";
    api_what: "What it does", "作用";
    api_takes: "Takes", "请求格式";
    api_gives: "Gives", "应答格式";
    api_query: "Parameters", "参数";

    login_title: "Log in", "登录";
    login_name: "Login", "登录名";
    login_password: "Password", "密码";
    login_enter: "Log in", "登录";
    login_wrong: "Login or password is wrong.", "登录名或密码不正确。";
    login_locked: "Too many wrong passwords. Wait a while, then try again.", "密码错误次数过多，请稍后再试。";
    login_nowhere: "This account belongs to no hospital any more. Ask an administrator.", "该账号已不属于任何机构，请联系管理员。";
    login_first: "Nobody has an account yet: the server printed the administrator's password when it started.", "尚无任何账号：服务器启动时已显示管理员的初始密码。";
    login_help: "No account, or password forgotten? An administrator of your hospital makes one and resets the other.", "没有账号或忘记密码？请联系本机构的管理员。";
    login_with: "Log in with", "使用以下账号登录：";
    login_or: "or with an account of this server", "或使用本系统账号";
    login_no_passwords: "Passwords of this server open nothing here; log in with one of the accounts above.", "本系统不使用自有密码，请使用上方的账号登录。";
    oidc_stale: "This login took too long, or was opened twice. Start it again.", "登录已超时或被重复打开，请重新开始。";
    oidc_refused: "The login was cancelled, or refused where you have your account.", "登录已取消，或被您的账号所在系统拒绝。";
    oidc_unbelievable: "The answer of the system where you have your account cannot be believed. Tell the operator of this server.", "账号所在系统的应答不可信，请联系服务器管理员。";
    oidc_unavailable: "The system where you have your account does not answer. Try again in a while.", "您的账号所在系统没有响应，请稍后重试。";
    oidc_nowhere: "You are known, but have no role here. Ask an administrator of your hospital.", "已确认您的身份，但您在此没有任何角色，请联系本机构的管理员。";
    oidc_disabled: "This account was switched off here. Ask an administrator of your hospital.", "该账号已在此停用，请联系本机构的管理员。";
    oidc_left_title: "Logged out", "已退出";
    oidc_left: "You are logged out here. The logout goes on at", "您已退出本系统，接下来将退出：";
    oidc_left_go: "Go on", "继续";
    account_of_provider: "You log in with an account of another system: name, password and roles are kept there.", "您使用其他系统的账号登录：姓名、密码和角色均在该系统中管理。";
    people_of_provider: "This person logs in with an account of another system, which keeps the password.", "该人员使用其他系统的账号登录，密码由该系统管理。";
    code_title: "Second factor", "二次验证";
    code_label: "Code", "验证码";
    code_help: "The six digits that your phone shows, or one of your recovery codes.", "输入手机上显示的六位数字，或一个恢复码。";
    code_wrong: "This code is wrong, or was used already. Wait for the next one.", "验证码不正确或已使用过，请等待下一个。";
    factor_title: "Second factor", "二次验证";
    factor_on: "A code of your phone is asked for at each login.", "每次登录都需要手机上的验证码。";
    factor_off: "With a second factor a stolen password opens nothing: each login also asks for a code of your phone.", "启用后，即使密码被盗也无法登录：每次登录还需要手机上的验证码。";
    factor_left: "Recovery codes left:", "剩余恢复码：";
    factor_begin: "Set up", "启用";
    factor_remove: "Remove", "停用";
    factor_scan: "Scan this with an authenticator app, or type the letters below into it. Then enter the code that it shows.", "用身份验证器应用扫描此图，或手动输入下方字母，然后填写应用显示的验证码。";
    factor_confirm: "Confirm", "确认";
    factor_codes: "It is set up. Keep these codes where your phone is not: each opens your account once, without the phone. They are shown this once.", "已启用。请把以下恢复码保存在手机以外的地方：每个可在没有手机时登录一次，仅显示这一次。";
    factor_required: "Your hospital asks for a second factor. Set it up here; then everything else opens.", "本机构要求二次验证，请在此启用，然后即可使用其他功能。";
    people_has_factor: "second factor", "已启用二次验证";
    people_reset_factor: "Remove second factor", "解除二次验证";
    people_factors_on: "Everybody who belongs here has to have a second factor. Logins by an identity provider are its business.", "所有成员必须启用二次验证；通过身份提供方登录的，由其负责。";
    people_factors_off: "Everybody decides for themselves whether to have a second factor.", "是否启用二次验证由每人自行决定。";
    people_factors_ask: "Ask everybody for one", "要求所有人启用";
    people_factors_stop: "Ask no longer", "不再要求";
    invite_make: "Invite somebody", "邀请人员";
    invite_text: "Whoever opens the link chooses login, name and password. It works once.", "打开链接的人自行设置登录名、姓名和密码，链接只能使用一次。";
    invite_note: "For whom", "给谁";
    invite_once: "The link is shown this once. Hand it over yourself; whoever has it first gets the account.", "链接仅显示这一次，请自行转交；最先使用的人获得账号。";
    invite_title: "Your account", "创建您的账号";
    invite_rule: "At least twelve characters; a few words are easier to remember than signs.", "至少十二个字符，几个词语比符号更好记。";
    invite_accept: "Make the account", "创建账号";
    invite_over_title: "This invitation is over", "邀请已失效";
    invite_over: "It was used, taken back, or is too old. Ask whoever gave it to you for another.", "邀请已被使用、撤回或过期，请向邀请人索取新的链接。";
    password_common: "The new password is made of words and patterns that are tried first. Add something that is only yours.", "新密码由常见词语和模式组成，容易被最先尝试，请加入只有您知道的内容。";
    logout: "Log out", "退出";
    save: "Save", "保存";
    never: "never", "从未";

    account_title: "Account", "账号";
    account_must_change: "Your password was set by somebody else. Choose your own; then everything else opens.", "您的密码由他人设置，请先修改密码，然后即可使用其他功能。";
    password_title: "Password", "密码";
    password_current: "Current password", "当前密码";
    password_new: "New password", "新密码";
    password_again: "New password again", "再次输入新密码";
    password_rule: "At least twelve characters; a few words are easier to remember than signs. All sessions end, and you log in again.", "至少十二个字符，几个词语比符号更好记。修改后所有登录都会失效，需重新登录。";
    password_change: "Change password", "修改密码";
    password_differs: "The new passwords are not the same.", "两次输入的新密码不一致。";
    password_same: "The new password is the current one.", "新密码不能与当前密码相同。";
    password_short: "The new password is too short: at least twelve characters.", "新密码太短，至少需要十二个字符。";
    password_long: "The new password is too long: at most 128 characters.", "新密码太长，最多 128 个字符。";
    password_guessable: "The new password is too easy to guess.", "新密码太容易被猜到。";
    password_wrong: "The current password is wrong.", "当前密码不正确。";
    sessions_title: "Where you are logged in", "已登录的设备";
    sessions_browser: "Browser", "浏览器";
    sessions_from: "Address", "地址";
    sessions_began: "Since", "登录时间";
    sessions_seen: "Last seen", "最近使用";
    sessions_this: "this one", "当前";
    sessions_end: "End", "强制退出";

    audit_title: "Audit trail", "审计";
    audit_text: "Who saw or did what in this hospital. Nothing here can be changed unnoticed.", "本机构内谁查看或操作了什么。任何改动都会被发现。";
    audit_search: "Search the audit trail", "检索审计记录";
    audit_who: "Who or where", "人员或地址";
    audit_who_hint: "login, token, AE title or address", "登录名、令牌、AE 名称或地址";
    audit_action: "Action", "操作";
    audit_outcome: "Outcome", "结果";
    audit_any: "any", "全部";
    audit_when: "Time", "时间";
    audit_about: "About", "对象";
    audit_details: "Details", "详情";
    audit_requests: "requests", "次请求";
    audit_instances: "instances", "个对象";
    audit_none: "No entries match.", "没有符合条件的记录。";
    audit_newer: "Newer", "较新";
    audit_older: "Older", "较早";
    audit_export: "Take away what this search finds, the earliest first:", "导出当前检索结果（从早到晚）：";
    audit_verify: "Check the chains", "校验记录链";
    audit_checking: "Being checked now; look again in a while.", "正在校验，请稍后再看。";
    audit_unchecked: "Not checked since this server started. Checking reads all of the trail.", "自服务启动以来尚未校验。校验会读取全部记录。";
    audit_not_checked: "The check could not be made; the server's log says why.", "校验未能完成，原因见服务器日志。";
    audit_proven: "Every row is as it was written. Rows:", "全部记录均与写入时一致，行数：";
    audit_broken: "The trail was altered or damaged:", "审计记录被篡改或损坏：";

    people_title: "People", "人员";
    people_roles: "Roles", "角色";
    people_since: "Since", "创建时间";
    people_name: "Name", "姓名";
    people_add: "Add a person", "添加人员";
    people_made: "Hand this over", "请转交以下信息";
    people_once: "The password is shown this once. It has to be changed at the first login.", "密码仅显示这一次，首次登录后必须修改。";
    people_change_roles: "Change", "修改";
    people_reset: "New password", "重置密码";
    people_disable: "Switch off", "停用";
    people_enable: "Switch on", "启用";
    people_is_disabled: "Switched off", "已停用";
    people_is_locked: "Locked for a while", "暂时锁定";
    people_has_not_come: "has not chosen a password yet", "尚未修改初始密码";
    people_bad_login: "A login has 1 to 64 letters, digits, dots, hyphens, underscores or @.", "登录名为 1 至 64 个字母、数字、点、连字符、下划线或 @。";
    people_bad_name: "The name is too long.", "姓名太长。";
    people_no_role: "Choose at least one role.", "请至少选择一个角色。";
    people_taken: "This login cannot be used here. Choose another.", "该登录名在此不可用，请换一个。";
    people_member: "This person is a member already; change the roles in the list.", "该人员已是本机构成员，请在列表中修改角色。";
    people_join_text: "This person has an account at another hospital that you administer.", "该人员在您管理的另一机构已有账号。";
    people_join: "Make a member here too", "加入本机构";
    people_last: "Somebody else must be an administrator first: this is the last one.", "这是最后一位管理员，请先指定另一位管理员。";
    people_not_yourself: "You cannot do this to your own account.", "不能对自己的账号执行此操作。";
    people_elsewhere: "This person belongs to other hospitals too; the operator of the server can do this.", "该人员同时属于其他机构，请由服务器管理员操作。";

    role_administrator: "Administrator", "管理员";
    role_reader: "Reader", "阅片医生";
    role_physician: "Physician", "临床医生";
    role_technician: "Technician", "技师";
    role_dispatcher: "Dispatcher", "分诊员";
    role_auditor: "Auditor", "审计员";
    role_modality: "Modality", "设备";
    role_patient: "Patient", "患者";
    may_read: "Search and read", "检索与阅读";
    may_share: "Share", "分享";
    may_store: "Store", "存储";
    may_delete: "Delete and restore", "删除与恢复";
    may_settle: "Settle patient conflicts", "处理患者冲突";
    may_worklist: "Worklist", "工作列表";
    may_order: "Orders", "检查申请";
    may_interpret: "Read and report", "判读报告";
    may_dispatch: "Hand out readings", "分配判读";
    may_audit: "Read the audit trail", "查看审计记录";
    may_administer: "Administer", "管理";

    orders_title: "Orders", "检查申请";
    orders_text: "What is scheduled, as modalities see it on their worklist. Orders come by HL7, from programs, or from the form below.", "已预约的检查，即设备在工作列表中看到的内容。申请来自 HL7、程序或下方表单。";
    orders_day: "Day", "日期";
    orders_time: "Time", "时间";
    orders_start: "Start", "开始";
    orders_modality: "Modality", "检查类型";
    orders_station: "Station AE title", "设备 AE 名称";
    orders_state: "State", "状态";
    orders_set: "Set", "设置";
    orders_show: "Show", "显示";
    orders_none: "Nothing is scheduled here", "没有已预约的检查";
    orders_name: "Patient's name", "患者姓名";
    orders_patient_id: "Patient ID", "患者编号";
    orders_birth_date: "Birth date", "出生日期";
    orders_sex: "Sex", "性别";
    orders_accession: "Accession number", "检查号";
    orders_what: "What is done", "检查内容";
    orders_referring: "Referring physician", "申请医师";
    orders_add: "New order", "新建申请";
    orders_missing: "There is nothing of this number that can be changed so.", "没有可以这样修改的对应项。";
    orders_mismatches: "Please look", "待核对";
    orders_mismatches_text: "Studies and orders that do not agree. The images are never changed; what is decided here can be undone.", "检查与申请不一致。影像不会被修改，此处的决定可以撤销。";
    orders_mismatch: "What is the matter", "问题";
    orders_ordered: "Ordered", "申请";
    orders_number: "Number of an order", "申请编号";
    orders_other_patient: "The numbers of an order, on images of another patient", "检查号相同，但患者不同";
    orders_demographics: "The patient's particulars differ", "患者信息不一致";
    orders_no_order: "Images without an order", "有影像但无申请";
    orders_no_images: "Performed, but no images came", "已完成但未收到影像";
    orders_accept: "Right as it is", "确认无误";
    orders_assign: "Belongs to order", "归入申请";
    orders_dismiss: "Belongs to none", "不属于任何申请";
    orders_undo: "Undo", "撤销";
    orders_settled: "Decided", "已处理";
    orders_accepted: "right as it is", "确认无误";
    orders_assigned: "assigned to an order", "已归入申请";
    orders_dismissed: "belongs to no order", "不属于任何申请";
    orders_refused: "HL7 messages that were refused", "被拒绝的 HL7 消息";
    orders_refused_text: "With the reason that their sender was told, and nothing of what they said of patients.", "附已告知发送方的原因，不含患者信息。";
    orders_message: "Message", "消息";
    orders_sender: "Sender", "发送方";
    orders_why: "Why", "原因";
    orders_when: "When", "时间";

    tokens_title: "API tokens", "API 令牌";
    tokens_text: "For programs: they send a token as Authorization: Bearer, or as the password of Basic.", "供程序使用：以 Authorization: Bearer 发送，或作为 Basic 的密码。";
    tokens_once: "The token is shown this once; only a digest of it is kept.", "令牌仅显示这一次，服务器只保存其摘要。";
    tokens_none: "No tokens yet", "还没有令牌";
    tokens_name: "What it is for", "用途";
    tokens_may: "Permissions", "权限";
    tokens_made: "Made", "创建";
    tokens_ends: "Ends", "到期";
    tokens_used: "Last used", "最近使用";
    tokens_days: "Valid for days", "有效天数";
    tokens_add: "Make a token", "创建令牌";
    tokens_revoke: "Revoke", "吊销";
    tokens_revoked: "Revoked", "已吊销";
    tokens_ended: "Ended", "已到期";
    tokens_incomplete: "A token needs a name, at least one permission that you have yourself, and an end.", "令牌需要用途、至少一项您自己拥有的权限，以及有效期。";

    routes_title: "Routing", "转发";
    peers_title: "Devices", "设备";
    peers_text: "DICOM peers: scanners, workstations and gateways that may call this server.", "可以连接本服务器的 DICOM 设备：成像设备、工作站与网关。";
    peers_none: "No devices are registered", "尚未登记设备";
    peers_unknown: "Devices that are not registered may store here as far as the settings of the server let them (unknown_peers).", "未登记的设备能否存储，由服务器设置 unknown_peers 决定。";
    peers_titles: "AE titles of this hospital", "本机构的 AE 名称";
    peers_label: "Name", "名称";
    peers_calling: "Its AE title", "设备的 AE 名称";
    peers_calling_hint: "* and ? stand for other characters", "可用 * 和 ? 代表其他字符";
    peers_called: "AE title that it calls", "设备呼叫的 AE 名称";
    peers_from: "Address or network", "地址或网段";
    peers_certificate: "Certificate (SHA-256 or subject)", "证书（SHA-256 或主体）";
    peers_any: "any", "任意";
    peers_seen: "Last seen", "最近连接";
    peers_off: "Switched off", "已停用";
    peers_remove: "Remove", "移除";
    peers_add: "Register a device", "登记设备";
    peers_refused: "Refused lately", "最近被拒绝的连接";
    peers_refused_text: "What was refused, failed or broke off in the last 30 days, and what mends it. Admit devices that you know.", "最近 30 天内被拒绝、失败或中断的情况及处理办法。请只允许您认识的设备。";
    peers_lately: "Lately", "近况";
    peers_all: "All devices", "全部设备";
    peers_advice: "What to do", "处理办法";
    peers_proposed: "It proposed", "设备的提议";
    peers_agreed: "Agreed on", "已约定";
    peers_fine: "Nothing went wrong in the last 30 days.", "最近 30 天内一切正常。";
    peers_times: "Times", "次数";
    peers_reason: "Why", "原因";
    peers_admit: "Admit", "允许";
    peers_bad: "A device needs an AE title of 1 to 16 characters and at least one permission; its address is written as 10.1.2.3 or 10.1.0.0/16.", "设备需要 1 至 16 个字符的 AE 名称和至少一项权限；地址写作 10.1.2.3 或 10.1.0.0/16。";
    peers_taken: "There is a row for these devices already.", "这些设备已经登记过。";
    peers_not_yours: "Name the AE title that the device calls: one of this hospital's.", "请填写设备呼叫的 AE 名称，且必须属于本机构。";
    share_title: "Share", "分享";
    share_with: "Share with a hospital or a person", "分享给机构或个人";
    share_who_sees: "Who may see this study", "谁可以查看此检查";
    share_nobody: "Nobody outside your hospital.", "目前仅限本机构。";
    share_what: "What", "内容";
    share_study: "This study", "此检查";
    share_patient: "All studies of the patient, those to come too", "该患者的全部检查（含以后的）";
    share_rule: "By rule", "按规则";
    share_all: "all studies", "全部检查";
    share_priors: "Earlier studies of the patient", "患者的既往检查";
    share_priors_none: "Not with it", "不包含";
    share_priors_related: "with related earlier studies", "含相关既往检查";
    share_priors_all: "with all earlier studies", "含全部既往检查";
    share_tenant: "Hospital or centre", "机构";
    share_own: "this hospital", "本机构";
    share_person: "Only this person there (login; may be empty)", "仅限该机构的此人（登录名，可留空）";
    share_days: "For days", "有效天数";
    share_no_end: "no end", "不限期";
    share_download: "May be downloaded", "允许下载";
    share_reshare: "May be passed on", "允许转分享";
    share_purpose: "What for", "用途";
    share_project: "Without the patient's identity, for the project (may be empty)", "去标识化，项目名称（可留空）";
    share_is_pseudonymous: "de-identified", "去标识化";
    share_no_project: "A project's name is 1 to 32 letters A-Z, digits, - or _.", "项目名称为 1 至 32 个字母 A-Z、数字、- 或 _。";
    pseudonyms_title: "Without the patient's identity", "去标识化的检查";
    pseudonyms_text: "To be downloaded; objects that may show a name in their pixels are left out.", "仅供下载；像素中可能含有姓名的对象已排除。";
    share_do: "Share", "分享";
    share_to: "With", "对象";
    share_how: "How", "方式";
    share_may_look: "to look at", "仅查看";
    share_may_download: "to look at and download", "可查看与下载";
    share_may_reshare: "may be passed on", "可转分享";
    share_is_reshare: "passed on", "转分享";
    share_is_emergency: "emergency", "紧急访问";
    share_ends: "Until", "截止";
    share_revoke: "Revoke", "撤销";
    share_revoked: "Revoked", "已撤销";
    share_ended: "Ended", "已到期";
    share_no_others: "No other hospital is on this server yet. The operator adds one with: qianli tenant add NAME", "此服务器上还没有其他机构，可由运维人员添加：qianli tenant add NAME";
    share_no_recipient: "Everybody in your own hospital sees it already: choose another hospital, or a person.", "本机构人员已可查看：请选择其他机构，或填写个人。";
    share_no_person: "Nobody with this login works at that hospital.", "该机构没有此登录名的人员。";
    share_no_purpose: "Say what it is for, in at most 200 characters.", "请填写用途，最多 200 个字符。";
    links_title: "Links", "分享链接";
    links_text: "A link opens the images on any phone, without an account. Give the code another way than the link: by telephone, or on paper.", "链接可在任何手机上打开影像，无需账号。验证码请通过其他方式告知，例如电话或纸条。";
    links_add: "Make a link", "创建链接";
    links_for: "Whom it is for", "分享给谁";
    links_code: "Ask for a code", "需要验证码";
    links_views: "Can be opened (times)", "可打开次数";
    links_any: "any number", "不限";
    links_once: "Link and code are shown this once.", "链接和验证码仅显示这一次。";
    links_url: "Link", "链接";
    links_the_code: "Code", "验证码";
    links_opened: "Opened", "已打开";
    links_left: "left", "剩余";
    links_without_code: "without a code", "无验证码";
    share_no_name: "Say whom the link is for, in at most 200 characters.", "请填写分享对象，最多 200 个字符。";
    link_title: "Shared images", "影像分享";
    link_from: "shares images with you", "与您分享了影像";
    link_enter: "Enter the code that you were given.", "请输入您收到的验证码。";
    link_open: "Open", "打开";
    link_wrong: "This code is wrong. After five wrong ones the link rests for a quarter of an hour.", "验证码不正确。连续输错五次后需等待一刻钟。";
    link_rests: "Too many wrong codes. Try again in a quarter of an hour.", "验证码错误次数过多，请一刻钟后再试。";
    link_gone_title: "This link opens nothing", "链接无效";
    link_gone: "It has ended, was revoked, was opened as often as it may be, or was not copied whole. Ask whoever sent it for a new one.", "链接已到期、已撤销、已达打开次数上限，或复制不完整。请联系发送者重新获取。";
    link_until: "This link works until", "链接有效期至";
    link_not_diagnostic: "For information; not for diagnosis on this screen.", "仅供参考，不用于在此屏幕上诊断。";
    link_close: "Close", "关闭";
    link_slice: "Image", "图像";
    link_empty: "There is nothing here any more.", "已没有可显示的内容。";
    grants_title: "Sharing", "分享管理";
    grants_text: "Everything that your hospital lets others see.", "本机构对外分享的全部内容。";
    grants_none: "Nothing is shared. Open a study and choose Share, or add a rule below.", "目前没有任何分享。打开一份检查并选择“分享”，或在下方添加规则。";
    grants_add_rule: "Share by rule", "按规则分享";
    grants_rule_text: "Every study with such a series goes to the centre as it arrives. Empty fields ask for nothing.", "含有此类序列的检查到达后即分享给该机构。留空表示不限。";
    grants_modality: "Modality", "检查类型";
    grants_body_part: "Body part", "检查部位";
    grants_priority: "Priority of the order", "申请优先级";
    grants_no_priority: "There is no such priority.", "没有这个优先级。";
    grants_older: "Also what is already here", "包括已有检查";
    grants_unreviewed: "Somebody looked at patients of yours in an emergency. Look at why, and say that you have.", "有人以紧急情况为由查看了本机构患者，请核实并确认。";
    grants_review: "I have looked at it", "已核实";
    grants_reviewed: "Looked at by", "核实人";
    grants_emergency: "Emergencies", "紧急访问";
    grants_emergency_text: "Doctors of other hospitals on this server may open a patient of yours for four hours when they know the ID and the birth date and say why. You see each time here.", "此服务器上其他机构的医生在知道患者编号和出生日期并说明理由时，可查看该患者四小时。每次访问都会显示在此处。";
    grants_allow: "Allow", "允许";
    grants_forbid: "Forbid", "禁止";
    grants_is_allowed: "Allowed now.", "当前允许。";
    grants_is_forbidden: "Forbidden now.", "当前禁止。";
    shared_title: "Shared with you", "他人分享";
    shared_none: "No other hospital shares anything with you now.", "目前没有其他机构与您分享影像。";
    shared_more: "Only the latest fifty are shown; search for more by DICOMweb:", "仅显示最近五十份，更多请通过 DICOMweb 检索：";
    shared_pass_on: "Pass on", "转分享";
    shared_passed_on: "Passed on from here", "由本机构转分享";
    share_no_tenant: "There is no such hospital.", "没有此机构。";
    share_no_days: "Choose for how many days: 1, 7, 30, 90, 365, or 0 for no end.", "请选择有效天数：1、7、30、90、365，或 0 表示不限期。";
    share_no_link_days: "Choose for how many days (1, 7, 30, 90) and how often (0 for any number, 1, 3, 10, 50) the link opens.", "请选择链接的有效天数（1、7、30、90）和可打开次数（0 表示不限、1、3、10、50）。";
    share_no_what: "Say study or patient, and none, related or all priors.", "内容须为 study 或 patient，既往检查须为 none、related 或 all。";
    shared_not_to_pass_on: "This may not be passed on; ask the hospital that it belongs to.", "不允许转分享，请联系所属机构。";
    emergency_title: "Emergency access", "紧急访问";
    emergency_text: "When a patient of another hospital needs you now and nobody can share the images: open them for four hours. The other hospital sees who you are, what you opened and why.", "其他机构的患者急需救治而来不及分享影像时，可打开影像四小时。对方机构会看到您的身份、查看内容和理由。";
    emergency_patient: "Patient ID there, exactly", "对方机构的患者编号（须完全一致）";
    emergency_birth: "Birth date", "出生日期";
    emergency_reason: "Reason", "理由";
    emergency_do: "Open for four hours", "打开四小时";
    emergency_no_reason: "Say why, in 8 to 200 characters.", "请说明理由（8 至 200 个字符）。";
    emergency_not_found: "There is no such patient there, or that hospital does not allow it.", "对方机构没有该患者，或不允许紧急访问。";
    emergency_waits: "Emergency access to patients of yours waits for a look.", "有对本机构患者的紧急访问待核实。";

    missing_title: "Nothing here", "页面不存在";
    missing_text: "This page does not exist, or the study is no longer stored.", "页面不存在，或该检查已不在服务器中。";
    failed_title: "This did not work", "暂时无法显示";
    failed_text: "The server could not answer. Try again in a moment; the log of the server says why.", "服务器暂时无法响应，请稍后重试；原因记录在服务器日志中。";
    go_home: "To the overview", "返回概览";
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn every_key_is_written_in_both_languages() {
        check(PAIRS);
    }

    pub(in super::super) fn check(pairs: &[(&str, &str, &str)]) {
        for (key, english, chinese) in pairs {
            assert!(!english.is_empty() && !chinese.is_empty(), "{key}");
            assert!(english.is_ascii(), "{key}: English text is not English");
            let han = chinese.chars().any(|c| ('\u{4E00}'..='\u{9FFF}').contains(&c));
            let name = matches!(*key, "send_dicom" | "send_web");
            assert!(han || name, "{key}: Chinese text is not Chinese");
        }
    }
}
