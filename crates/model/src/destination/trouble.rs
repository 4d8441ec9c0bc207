//! What keeps us from working with a destination, and what mends it, for whoever has to call the people
//! at the other end.

use crate::incident::Tongue;

/// Why a destination cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Its host name cannot be looked up.
    UnknownHost,
    /// Nothing listens at its address.
    NothingListens,
    /// It cannot be reached, or says nothing.
    NoAnswer,
    /// TLS came to nothing.
    Tls,
    /// It says that it does not have the AE title by which we call it.
    CalledTitle,
    /// It does not know us.
    CallingTitle,
    /// It has no room now.
    Busy,
    /// It rejects us for another reason, or for none.
    Rejected,
    /// It does not offer what is asked of it.
    Service,
    /// It ended the association in the middle.
    BrokeOff,
    /// It answers with a failure.
    Failure,
}

/// The word for programs; what happened and what mends it in English, then both in Chinese.
type Row = (&'static str, [&'static str; 2], [&'static str; 2]);

impl Trouble {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::UnknownHost,
        Self::NothingListens,
        Self::NoAnswer,
        Self::Tls,
        Self::CalledTitle,
        Self::CallingTitle,
        Self::Busy,
        Self::Rejected,
        Self::Service,
        Self::BrokeOff,
        Self::Failure,
    ];

    const fn row(self) -> Row {
        match self {
            Self::UnknownHost => (
                "unknown host",
                [
                    "its host name is not known here",
                    "Look for a typing error, or write the address in place of the name.",
                ],
                ["无法解析其主机名", "请检查拼写，或用 IP 地址代替主机名。"],
            ),
            Self::NothingListens => (
                "nothing listens",
                [
                    "the machine is there, but nothing listens at that port",
                    "Start the DICOM service at the device and compare the port; a firewall may \
                     refuse, too.",
                ],
                [
                    "主机存在，但该端口没有服务",
                    "请在设备上启动 DICOM 服务并核对端口；也可能被防火墙拒绝。",
                ],
            ),
            Self::NoAnswer => (
                "no answer",
                [
                    "it does not answer",
                    "Look whether the device is switched on, whether address and port are right, \
                     whether a firewall drops the connection, and whether it wants TLS.",
                ],
                [
                    "没有应答",
                    "请检查设备是否开机、地址和端口是否正确、防火墙是否丢弃连接，以及是否需要 TLS。",
                ],
            ),
            Self::Tls => (
                "tls",
                [
                    "TLS failed",
                    "Look whether the device speaks TLS 1.2 or later at this port, whether its \
                     certificate is in date and names its host, and whether it trusts ours.",
                ],
                [
                    "TLS 失败",
                    "请检查设备是否在此端口使用 TLS 1.2 或更高版本、证书是否有效且与主机名相符，以及是否信任本服务器的证书。",
                ],
            ),
            Self::CalledTitle => (
                "called title",
                [
                    "it says that it does not have this AE title",
                    "Write the AE title exactly as the device has it: upper and lower case count.",
                ],
                ["设备表示没有此 AE 名称", "请按设备上的写法填写 AE 名称，区分大小写。"],
            ),
            Self::CallingTitle => (
                "calling title",
                [
                    "it does not know this server",
                    "Enter this server's AE title and address at the device.",
                ],
                ["设备不认识本服务器", "请在设备上登记本服务器的 AE 名称和地址。"],
            ),
            Self::Busy => (
                "busy",
                [
                    "it has no room for another association now",
                    "Try again in a while; if it repeats, allow fewer associations to it.",
                ],
                [
                    "设备暂时无法接受更多连接",
                    "请稍后重试；若反复出现，请减少到该设备的并行连接数。",
                ],
            ),
            Self::Rejected => (
                "rejected",
                [
                    "it refuses the association",
                    "The log of the device says why; as a rule it has to know this server's AE title \
                     and address.",
                ],
                [
                    "设备拒绝了连接",
                    "原因见设备日志；通常需要在设备上登记本服务器的 AE 名称和地址。",
                ],
            ),
            Self::Service => (
                "service",
                [
                    "it does not offer that service to this server",
                    "Switch the service on at the device, also for this server's AE title; its \
                     conformance statement says whether it has it.",
                ],
                [
                    "设备不向本服务器提供该服务",
                    "请在设备上为本服务器的 AE 名称启用该服务；是否支持见设备的一致性声明。",
                ],
            ),
            Self::BrokeOff => (
                "broke off",
                ["it ended the association in the middle", "The log of the device says why."],
                ["设备中途断开了连接", "原因见设备日志。"],
            ),
            Self::Failure => (
                "failure",
                ["it answers with a failure", "The log of the device says more about the status."],
                ["设备返回失败状态", "状态的详情见设备日志。"],
            ),
        }
    }

    /// The word for programs.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// What happened.
    pub const fn what(self, tongue: Tongue) -> &'static str {
        match tongue {
            Tongue::English => self.row().1[0],
            Tongue::Chinese => self.row().2[0],
        }
    }

    /// What mends it.
    pub const fn advice(self, tongue: Tongue) -> &'static str {
        match tongue {
            Tongue::English => self.row().1[1],
            Tongue::Chinese => self.row().2[1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_has_its_own_words_in_both_languages() {
        let mut names = std::collections::HashSet::new();
        for one in Trouble::ALL {
            assert!(names.insert(one.name()), "{one:?}");
            for text in [one.what(Tongue::English), one.advice(Tongue::English)] {
                assert!(text.is_ascii() && !text.is_empty() && !text.contains("  "), "{text}");
            }
            for text in [one.what(Tongue::Chinese), one.advice(Tongue::Chinese)] {
                assert!(text.chars().any(|c| ('一'..='龥').contains(&c)), "{text}");
            }
        }
    }
}
