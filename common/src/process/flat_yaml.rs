//! Reads variables from a flat YAML file: `KEY: value` lines, comments and quoted values. Pure.
//!
//! Values stay texts: `true`, `0755` and `1e3` are passed on as they are written, because each setting reads its own text.
//! `~` and `null` without quotes are empty values. White space at both ends is removed, also inside quotes. Any other
//! structure, such as a list, is an error, so that no part of the file is ignored silently.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// A line of the file is not a variable. The error never contains text of the file, which may be secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {problem}")]
pub struct YamlError {
    line: usize,
    problem: Problem,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("is not valid YAML; put a value with special characters in quotes")]
    Invalid,
    #[error("is not KEY: value")]
    NotKeyValue,
    #[error("begins with a key that is not the name of a variable (letters, digits, _)")]
    InvalidKey,
    #[error("repeats the key of an earlier line; small and capital letters are the same")]
    RepeatedKey,
    #[error("is nested: each variable must be one line KEY: value")]
    Nested,
    #[error("begins a list: write the items as one text, with commas between them")]
    List,
    #[error("has a value that begins with &, * or !, which YAML does not read as text: put it in quotes")]
    NotPlainText,
    #[error("begins a second document: remove the line ---")]
    SecondDocument,
}

/// The variables in `text`, with their names in capitals. A key without a value is an empty variable.
///
/// # Errors
/// A line is not a variable.
pub fn read(text: &str) -> Result<Vec<(String, String)>, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut vars: Vec<(String, String)> = Vec::new();
    let mut key = None;
    let (mut is_in_mapping, mut documents) = (false, 0);
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| YamlError { line: error.marker().line(), problem: Problem::Invalid })?;
        let wrong = |problem| Err(YamlError { line: span.start.line(), problem });
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return wrong(Problem::SecondDocument);
                }
            }
            Event::MappingStart(..) if !is_in_mapping => is_in_mapping = true,
            Event::MappingStart(..) => return wrong(Problem::Nested),
            Event::SequenceStart(..) => return wrong(Problem::List),
            Event::Alias(_) => return wrong(Problem::NotPlainText),
            Event::Scalar(_, _, anchor, ref tag) if anchor != 0 || tag.is_some() => {
                return wrong(Problem::NotPlainText);
            }
            // A file of comments only.
            Event::Scalar(ref text, style, ..) if !is_in_mapping && is_null(text, style) => {}
            Event::Scalar(..) if !is_in_mapping => return wrong(Problem::NotKeyValue),
            Event::Scalar(text, style, ..) => match key.take() {
                Some(name) => {
                    let value = if is_null(&text, style) { "" } else { text.trim() };
                    vars.push((name, value.to_owned()));
                }
                None => match name_of(&text) {
                    Some(name) if vars.iter().any(|(known, _)| *known == name) => {
                        return wrong(Problem::RepeatedKey);
                    }
                    Some(name) => key = Some(name),
                    None => return wrong(Problem::InvalidKey),
                },
            },
            _ => {}
        }
    }
    Ok(vars)
}

/// The name of a variable. Keys may be in small letters, as the environment may.
fn name_of(key: &str) -> Option<String> {
    let is_name = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then(|| key.to_ascii_uppercase())
}

/// Whether a value is absent: nothing, `~` or `null` without quotes.
fn is_null(text: &str, style: ScalarStyle) -> bool {
    style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_lines_are_variables_and_values_stay_texts() {
        let text = "\u{feff}# local settings\n---\nNATS_URL: nats://127.0.0.1:4222 # the broker\n\
            \"MONGODB_URI\": 'mongodb://a:b@h/?x=''y'''\nAPI_TOKEN: \"quo\\\"ted: # \"\nMAX: 0010\n\
            ALLOW_UNSIGNED: true\nlower_case: yes\nEMPTY:\nTILDE: ~\nQUOTED: \"null\"\nROLES: status,api\n";
        let wanted = [
            ("NATS_URL", "nats://127.0.0.1:4222"),
            ("MONGODB_URI", "mongodb://a:b@h/?x='y'"),
            ("API_TOKEN", "quo\"ted: #"),
            ("MAX", "0010"),
            ("ALLOW_UNSIGNED", "true"),
            ("LOWER_CASE", "yes"),
            ("EMPTY", ""),
            ("TILDE", ""),
            ("QUOTED", "null"),
            ("ROLES", "status,api"),
        ];
        assert_eq!(read(text).unwrap(), wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for empty in ["", "# nothing\n", "---\n"] {
            assert_eq!(read(empty), Ok(Vec::new()), "{empty:?}");
        }
    }

    #[test]
    fn other_structures_are_refused_with_their_line_and_without_their_text() {
        #[rustfmt::skip]
        let table = [ // text, line, problem
            ("A: 1\nNATS:\n  URL: s3cret\n",      3, Problem::Nested),
            ("A: { B: s3cret }\n",                1, Problem::Nested),
            ("A: 1\nSOURCES:\n  - s3cret\n",      3, Problem::List),
            ("A: [s3cret]\n",                     1, Problem::List),
            ("- s3cret\n",                        1, Problem::List),
            ("A: 1\nTOKEN: !s3cret\n",            2, Problem::NotPlainText),
            ("A: 1\nTOKEN: &s3cret\n",            2, Problem::NotPlainText),
            ("A: &s3cret x\n",                    1, Problem::NotPlainText),
            ("A: 1\n\nnats-s3cret: x\n",          3, Problem::InvalidKey),
            ("A: 1\n? [s3cret]\n: x\n",           2, Problem::List),
            ("A: 1\nB: 2\na: s3cret\n",           3, Problem::RepeatedKey),
            ("A=s3cret\n",                        1, Problem::NotKeyValue),
            ("A: 1\n---\nB: s3cret\n",            2, Problem::SecondDocument),
            ("A: 1\nB: *s3cret\n",                2, Problem::Invalid),
            ("A: 1\nB: \"s3cret\n",               2, Problem::Invalid),
            ("A: 1\nB: s3cret: x\n",              2, Problem::Invalid),
        ];
        for (text, line, problem) in table {
            let error = read(text).unwrap_err();
            assert_eq!(error, YamlError { line, problem }, "{text:?}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
