//! The SIP response codes with which calls fail (RFC 3261, section 21; 580 is from RFC 3312, 607 from
//! RFC 8197, 608 from RFC 8688).

/// The codes that carriers send most often, with their phrases.
const PHRASES: [(&str, &str); 24] = [
    ("400", "Bad Request"),
    ("401", "Unauthorized"),
    ("403", "Forbidden"),
    ("404", "Not Found"),
    ("407", "Proxy Authentication Required"),
    ("408", "Request Timeout"),
    ("410", "Gone"),
    ("480", "Temporarily Unavailable"),
    ("483", "Too Many Hops"),
    ("484", "Address Incomplete"),
    ("486", "Busy Here"),
    ("487", "Request Terminated"),
    ("488", "Not Acceptable Here"),
    ("500", "Server Internal Error"),
    ("502", "Bad Gateway"),
    ("503", "Service Unavailable"),
    ("504", "Server Time-out"),
    ("580", "Precondition Failure"),
    ("600", "Busy Everywhere"),
    ("603", "Decline"),
    ("604", "Does Not Exist Anywhere"),
    ("606", "Not Acceptable"),
    ("607", "Unwanted"),
    ("608", "Rejected"),
];

/// The phrase of a code, if it is known.
pub fn sip_phrase(code: &str) -> Option<&'static str> {
    PHRASES.iter().find(|(known, _)| *known == code).map(|(_, phrase)| *phrase)
}

/// Whether a text is the code of a failure: 400 to 699.
pub fn is_sip_failure(code: &str) -> bool {
    code.len() == 3 && code.parse().is_ok_and(|code: u16| (400..700).contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_of_failures_count() {
        for (code, is_failure) in [
            ("200", false),
            ("399", false),
            ("400", true),
            ("699", true),
            ("700", false),
            ("48", false),
            ("x86", false),
        ] {
            assert_eq!(is_sip_failure(code), is_failure, "{code}");
        }
        assert!(PHRASES.iter().all(|(code, _)| is_sip_failure(code)));
    }
}
