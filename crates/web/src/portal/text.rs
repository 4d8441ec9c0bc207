//! Every word of the pages in both languages. A key is a field, so a page that names a missing one
//! does not compile, and a key without both translations cannot be written.

macro_rules! texts {
    ($($key:ident: $english:literal, $chinese:literal;)*) => {
        /// The words of one language.
        #[derive(Debug)]
        pub(super) struct Texts {
            $(pub $key: &'static str,)*
        }

        /// English.
        pub(super) static ENGLISH: Texts = Texts { $($key: $english,)* };
        /// Simplified Chinese.
        pub(super) static CHINESE: Texts = Texts { $($key: $chinese,)* };

        #[cfg(test)]
        static PAIRS: &[(&str, &str, &str)] = &[$((stringify!($key), $english, $chinese),)*];
    };
}

texts! {
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

    missing_title: "Nothing here", "页面不存在";
    missing_text: "This page does not exist, or the study is no longer stored.", "页面不存在，或该检查已不在服务器中。";
    failed_title: "This did not work", "暂时无法显示";
    failed_text: "The server could not answer. Try again in a moment; the log of the server says why.", "服务器暂时无法响应，请稍后重试；原因记录在服务器日志中。";
    go_home: "To the overview", "返回概览";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_written_in_both_languages() {
        for (key, english, chinese) in PAIRS {
            assert!(!english.is_empty() && !chinese.is_empty(), "{key}");
            assert!(english.is_ascii(), "{key}: English text is not English");
            let han = chinese.chars().any(|c| ('\u{4E00}'..='\u{9FFF}').contains(&c));
            let name = matches!(*key, "send_dicom" | "send_web");
            assert!(han || name, "{key}: Chinese text is not Chinese");
        }
    }
}
