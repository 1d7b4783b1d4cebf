//! Conditional requests (RFC 9110, section 13). Pure.

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE},
};

/// The entity tag of a version. `None`: the version has characters that no tag has.
pub fn entity_tag(version: &str) -> Option<HeaderValue> {
    let is_plain = version.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    HeaderValue::try_from(format!("\"{version}\"")).ok().filter(|_| is_plain && !version.is_empty())
}

/// Whether the sender has this version already.
pub fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = tags.flat_map(|tags| tags.split(',').map(str::trim));
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes())
}

/// The `Range` header, unless `If-Range` names another version.
pub fn range<'a>(headers: &'a HeaderMap, tag: &HeaderValue) -> Option<&'a str> {
    let text = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let is_current = text(IF_RANGE).is_none_or(|condition| condition == tag.as_bytes());
    headers.get(RANGE).filter(|_| is_current)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_known_version_is_recognized() {
        let tag = entity_tag("7").unwrap();
        #[rustfmt::skip]
        let table = [
            ("\"7\"",            true),
            ("W/\"7\"",          true),
            ("\"6\", \"7\"",     true),
            ("*",                true),
            ("\"77\"",           false),
            ("7",                false),
            ("",                 false),
        ];
        for (value, known) in table {
            assert_eq!(is_known(&headers(&[(IF_NONE_MATCH, value)]), &tag), known, "{value}");
        }
        assert!(!is_known(&HeaderMap::new(), &tag));
        assert_eq!((entity_tag(""), entity_tag("a\"b"), entity_tag("a\n")), (None, None, None));
    }

    #[test]
    fn a_range_of_another_version_is_ignored() {
        let tag = entity_tag("a").unwrap();
        let range = |condition: &'static str| {
            range(&headers(&[(RANGE, "bytes=0-"), (IF_RANGE, condition)]), &tag).map(str::to_owned)
        };
        assert_eq!(range("\"a\"").as_deref(), Some("bytes=0-"));
        assert_eq!((range("\"b\""), range("Wed, 21 Oct 2026 07:28:00 GMT")), (None, None));
    }
}
