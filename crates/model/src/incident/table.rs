//! Every cause of an incident: its word, what happened, and what mends it, in English and Chinese.

use super::{Cause, Kind};

/// A line of the table.
pub(super) struct Row {
    pub cause: Cause,
    pub name: &'static str,
    pub kind: Kind,
    /// English, Chinese.
    pub what: [&'static str; 2],
    pub advice: [&'static str; 2],
}

macro_rules! rows {
    ($($cause:ident $kind:ident $name:literal: $what:literal, $what_zh:literal; $advice:literal, $advice_zh:literal;)*) => {
        /// In the order of [`Cause`].
        pub(super) static ROWS: &[Row] = &[$(Row {
            cause: Cause::$cause,
            name: $name,
            kind: Kind::$kind,
            what: [$what, $what_zh],
            advice: [$advice, $advice_zh],
        },)*];
    };
}

rows! {
    Admitted Admitted "admitted":
        "was let in", "已允许连接";
        "Nothing to do.", "无需处理。";
    CalledTitle Association "called title":
        "calls an AE title that nobody here has", "呼叫的 AE 名称不存在";
        "Enter this server's AE title at the device (upper and lower case count), or give the title to a hospital with `qianli tenant ae`.", "请在设备上填写本服务器的 AE 名称（区分大小写），或用 `qianli tenant ae` 把该名称分配给机构。";
    Unknown Association "unknown":
        "is not registered", "未登记";
        "If you know the device, register it from its address at /peers or with `qianli peer add`.", "若认识该设备，请在“设备”页面或用 `qianli peer add` 按其地址登记。";
    Elsewhere Association "registered elsewhere":
        "is registered, but not from this address or with this certificate", "已登记，但地址或证书不符";
        "If the device was moved, register its new address or certificate; if not, find out who uses its AE title.", "若设备更换了地址或证书，请重新登记；否则请查明是谁在使用它的 AE 名称。";
    SwitchedOff Association "switched off":
        "is registered and switched off", "已登记但已停用";
        "Switch it on at /peers or with `qianli peer enable`.", "请在“设备”页面或用 `qianli peer enable` 启用。";
    TwoTenants Association "two tenants":
        "is registered by two hospitals alike", "被两个机构同时登记";
        "Give one of the rows an address or a called AE title.", "请为其中一条登记补充地址或被呼叫的 AE 名称。";
    InvalidTitle Association "invalid title":
        "sent an AE title that is none", "发送的 AE 名称无效";
        "Enter AE titles of 1 to 16 plain characters without a backslash at the device, its own and ours.", "请在设备上填写 1 至 16 个不含反斜杠的普通字符作为双方的 AE 名称。";
    ApplicationContext Association "application context":
        "asked for something that is not DICOM", "请求的应用上下文不是 DICOM";
        "Look what program calls this port: it is no DICOM device.", "请确认是什么程序在连接此端口：它不是 DICOM 设备。";
    ProtocolVersion Association "protocol version":
        "speaks another version of the protocol", "协议版本不符";
        "Ask the vendor of the device: only version 1 exists.", "请咨询设备厂商：目前只有版本 1。";
    SmallPdu Association "pdu too small":
        "takes too small PDUs to work with", "可接收的 PDU 过小";
        "Set the maximum PDU size at the device to 16384 or more.", "请在设备上把最大 PDU 设为 16384 或更大。";
    Identity Association "identity":
        "showed a user identity that is not accepted", "出示的用户身份未被接受";
        "Check login, password or token at the device, and whether the account is switched off or locked.", "请检查设备上的用户名、密码或令牌，以及账户是否停用或锁定。";
    NoIdentity Association "no identity":
        "showed no user identity, and one is required", "未出示用户身份，而本服务器要求出示";
        "Enter a login and password (or a token) at the device, or set dimse_identity = \"check\".", "请在设备上填写用户名和密码（或令牌），或设置 dimse_identity = \"check\"。";
    TooManyAssociations Association "too many associations":
        "asked for one more association than it may have", "同时打开的连接过多";
        "Lower the number of parallel associations at the device, or raise max_associations or max_associations_per_address.", "请减少设备的并行连接数，或调高 max_associations 或 max_associations_per_address。";
    TooManyConnections Association "too many connections":
        "opened many connections and asked for nothing on them", "打开了许多连接却没有任何请求";
        "Look what program at this address does it: a port scanner, or a device that hangs.", "请查明该地址上的程序：可能是端口扫描，或设备已挂起。";
    Busy Association "busy":
        "came while the server was overloaded", "到达时服务器过载";
        "It may try again; if this repeats, look at the log of the server.", "设备可以重试；若反复出现，请查看服务器日志。";
    MalformedRequest Association "malformed request":
        "began with something that is no association request", "第一个报文不是有效的关联请求";
        "Look whether the device shall speak TLS or plain DICOM on this port, and what its vendor says.", "请检查此端口应使用 TLS 还是明文 DICOM，并咨询设备厂商。";
    NoRequest Association "no request":
        "connected and asked for nothing in time", "已连接但未在时限内提出请求";
        "Look whether the device shall speak TLS or plain DICOM on this port, and whether a firewall holds back what it sends.", "请检查此端口应使用 TLS 还是明文 DICOM，以及防火墙是否拦截了数据。";
    Handshake Association "tls handshake":
        "could not agree on TLS", "TLS 握手失败";
        "Look whether the device speaks TLS 1.2 or later on this port, trusts this server's certificate, and shows one that dimse_tls_client_ca vouches for.", "请检查设备是否在此端口使用 TLS 1.2 或更高版本、是否信任本服务器的证书，并出示由 dimse_tls_client_ca 签发的证书。";
    Refused Association "refused":
        "was refused", "被拒绝";
        "The log of the server says more.", "详情见服务器日志。";
    AbstractSyntax Context "abstract syntax":
        "proposed a SOP class that is not taken here", "提议了本服务器不接受的 SOP 类";
        "Such objects are not sent. Private storage classes are taken with sop_classes = \"all\"; a service that this server does not offer is to be switched off at the device.", "此类对象不会被发送。私有存储类需设置 sop_classes = \"all\"；本服务器不提供的服务请在设备上关闭。";
    TransferSyntax Context "transfer syntax":
        "proposed only encodings that are not known here", "提议的传输语法本服务器均不支持";
        "Let the device also propose Explicit or Implicit VR Little Endian.", "请让设备同时提议显式或隐式 VR 小端传输语法。";
    NotAuthorised Operation "not authorised":
        "asked for something that it may not do", "请求了未获授权的操作";
        "Give its row in the register the permission at /peers, or look whether the row was changed meanwhile.", "请在“设备”页面为其登记授予相应权限，或检查该登记是否已被更改。";
    OutOfResources Operation "out of resources":
        "could not store: no space, or the store does not answer", "无法存储：空间不足或存储无响应";
        "Free space or mend the store (`qianli doctor` looks at both); the device may send again.", "请释放空间或修复存储（`qianli doctor` 可检查），之后设备可以重发。";
    WrongClass Operation "wrong class":
        "sent an object of another SOP class than announced, or of one that is not taken", "对象的 SOP 类与声明不符或不被接受";
        "Compare the object's SOP Class UID with the presentation context; sop_classes = \"all\" takes private classes, too.", "请核对对象的 SOP Class UID 与表示上下文；设置 sop_classes = \"all\" 可接受私有类。";
    CannotUnderstand Operation "cannot understand":
        "sent a data set that cannot be read or used", "发送的数据集无法读取";
        "Export the object at the device and look at it with `qianli import` or dcmdump; its vendor has to mend it.", "请在设备上导出该对象并用 `qianli import` 或 dcmdump 检查，由厂商修复。";
    NotOffered Operation "not offered":
        "asked for an operation that is not offered", "请求了未提供的操作";
        "Switch that function off at the device; docs/CONFORMANCE.md lists what there is.", "请在设备上关闭该功能；可用功能见 docs/CONFORMANCE.md。";
    BadArgument Operation "bad argument":
        "sent a request that lacks something or contradicts itself", "请求缺少内容或自相矛盾";
        "Show the status and the words beside it to the vendor of the device.", "请把状态码与说明提供给设备厂商。";
    UnknownDestination Operation "unknown destination":
        "asked to move objects to a destination that is not registered", "请求发送到未登记的目的地";
        "Register the destination with its host and port (`qianli peer`).", "请登记该目的地的主机和端口（`qianli peer`）。";
    Failed Operation "failed":
        "asked for something that failed", "请求的操作失败";
        "The status and the log of the server say more.", "详情见状态码与服务器日志。";
    AbortedByPeer Ending "aborted by peer":
        "aborted the association", "中断了关联";
        "Look into the log of the device: it gave up, as a rule over an answer that it did not expect or did not get in time.", "请查看设备日志：通常是未收到预期的应答或等待超时。";
    ProtocolError Ending "protocol error":
        "broke the protocol", "违反协议";
        "Show the words beside it to the vendor of the device.", "请把说明提供给设备厂商。";
    IdleTimeout Ending "idle timeout":
        "was silent for too long", "长时间没有数据";
        "Let the device release associations that it does not use, or raise idle_timeout.", "请让设备释放不用的关联，或调高 idle_timeout。";
    ConnectionLost Ending "connection lost":
        "closed the connection without a release", "未释放关联就断开了连接";
        "Harmless when all was sent; if not, look for a firewall that cuts idle connections, and into the log of the device.", "若数据已全部发送则无妨；否则请检查防火墙是否切断空闲连接，并查看设备日志。";
}

/// Abstract syntaxes that are no storage classes, by their names in PS3.6 annex A.
pub(super) fn service_name(uid: &str) -> Option<&'static str> {
    use dicom_core::dictionary::UidDictionary;
    let meta = || dicom_dictionary_std::StandardSopClassDictionary.by_uid(uid).map(|one| one.name);
    Some(match uid {
        "1.2.840.10008.5.1.4.31" => "Modality Worklist Information Model - FIND",
        "1.2.840.10008.1.20.1" => "Storage Commitment Push Model",
        "1.2.840.10008.5.1.1.9" => "Basic Grayscale Print Management",
        "1.2.840.10008.5.1.1.18" => "Basic Color Print Management",
        _ => return meta(),
    })
}
