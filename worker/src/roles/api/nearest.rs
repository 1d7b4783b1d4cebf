//! Suggests the known name that a misspelt name most likely means. Pure.

/// Least similarity of a suggestion, from 0 to 1.
const MIN_SIMILARITY: f64 = 0.8;
/// Most characters of an unknown name in an error.
const MAX_NAME: usize = 64;

/// A sentence about the unknown name of a `kind` ("field", "parameter"), with the nearest known name.
pub fn unknown<'a>(kind: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let shown: String = name.chars().take(MAX_NAME).collect();
    match nearest(name, known) {
        Some(nearest) => format!("unknown {kind} {shown:?}; did you mean {nearest:?}?"),
        None => format!("unknown {kind} {shown:?}"),
    }
}

/// The known name that is most similar to `name`.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| {
        text.chars().take(MAX_NAME).filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
    };
    let wanted = plain(name);
    let similarity = |known: &str| strsim::jaro_winkler(&wanted, &plain(known));
    let rated = known.into_iter().map(|known| (similarity(known), known));
    rated
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_name_is_suggested() {
        let known = ["agentId", "agentPhoneNumberId", "toNumber", "status", "since", "until"];
        #[rustfmt::skip]
        let table = [
            ("agent_id",   Some("agentId")),
            ("AgentID",    Some("agentId")),
            ("tonumber",   Some("toNumber")),
            ("toNumbr",    Some("toNumber")),
            ("statsu",     Some("status")),
            ("untill",     Some("until")),
            ("$where",     None),
            ("$or",        None),
            ("",           None),
        ];
        for (name, expected) in table {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
        assert_eq!(unknown("field", "statsu", known), "unknown field \"statsu\"; did you mean \"status\"?");
        assert_eq!(unknown("field", &"x".repeat(1000), known).len(), MAX_NAME + 16);
    }
}
