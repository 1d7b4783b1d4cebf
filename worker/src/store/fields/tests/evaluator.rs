//! Evaluates the expressions of update statements as MongoDB does: only the operators that the store uses.

use std::{cmp::Ordering, collections::HashMap};

use mongodb::bson::{Bson, Document};

type Variables = HashMap<String, Bson>;

/// The object that `expression` makes of the document `root`.
pub(super) fn evaluate(root: &Document, expression: &Document) -> Document {
    let variables = HashMap::from([("ROOT".to_owned(), Bson::Document(root.clone()))]);
    match value(&Bson::Document(expression.clone()), &variables) {
        Some(Bson::Document(document)) => document,
        other => panic!("not an object: {other:?}"),
    }
}

/// The value of an expression. `None`: the value is missing.
fn value(expression: &Bson, variables: &Variables) -> Option<Bson> {
    match expression {
        Bson::String(text) => match (text.strip_prefix("$$"), text.strip_prefix('$')) {
            (Some(path), _) => {
                let (variable, path) = path.split_once('.').unwrap_or((path, ""));
                at_path(variables.get(variable)?, path)
            }
            (None, Some(path)) => at_path(&variables["ROOT"], path),
            (None, None) => Some(expression.clone()),
        },
        Bson::Array(items) => {
            Some(Bson::Array(items.iter().map(|item| value(item, variables).unwrap_or(Bson::Null)).collect()))
        }
        Bson::Document(object) => match object.iter().next() {
            Some((operator, operand)) if operator.starts_with('$') => {
                assert_eq!(object.len(), 1, "{object}");
                apply(operator, operand, variables)
            }
            _ => {
                let fields = object.iter();
                let fields =
                    fields.filter_map(|(name, field)| Some((name.clone(), value(field, variables)?)));
                Some(Bson::Document(fields.collect()))
            }
        },
        other => Some(other.clone()),
    }
}

fn at_path(value: &Bson, path: &str) -> Option<Bson> {
    if path.is_empty() {
        return Some(value.clone());
    }
    match value {
        Bson::Document(document) => {
            let (name, rest) = path.split_once('.').unwrap_or((path, ""));
            at_path(document.get(name)?, rest)
        }
        Bson::Array(items) => {
            Some(Bson::Array(items.iter().filter_map(|item| at_path(item, path)).collect()))
        }
        _ => None,
    }
}

fn apply(operator: &str, operand: &Bson, variables: &Variables) -> Option<Bson> {
    let array = |expression: &Bson| match value(expression, variables) {
        Some(Bson::Array(items)) => items,
        other => panic!("{operator}: not an array: {other:?}"),
    };
    let operands = || operand.as_array().expect("operands");
    let nth = |n: usize| value(&operands()[n], variables).unwrap_or(Bson::Null);
    let is_true = |value: &Bson| *value == Bson::Boolean(true);
    Some(match operator {
        "$literal" => operand.clone(),
        "$mergeObjects" => {
            let mut merged = Document::new();
            for object in operands() {
                match value(object, variables) {
                    Some(Bson::Document(object)) => merged.extend(object),
                    None | Some(Bson::Null) => {}
                    other => panic!("not an object: {other:?}"),
                }
            }
            Bson::Document(merged)
        }
        "$min" | "$max" => {
            let values = array(operand).into_iter().filter(|value| *value != Bson::Null);
            let chosen = if operator == "$min" { values.min_by(compare) } else { values.max_by(compare) };
            chosen.unwrap_or(Bson::Null)
        }
        "$ifNull" => {
            return operands().iter().filter_map(|one| value(one, variables)).find(|v| *v != Bson::Null);
        }
        "$cond" => return value(&operands()[if is_true(&nth(0)) { 1 } else { 2 }], variables),
        "$gt" => Bson::Boolean(compare(&nth(0), &nth(1)) == Ordering::Greater),
        "$lte" => Bson::Boolean(compare(&nth(0), &nth(1)) != Ordering::Greater),
        "$eq" => Bson::Boolean(nth(0) == nth(1)),
        "$not" => Bson::Boolean(!is_true(&nth(0))),
        "$and" => Bson::Boolean((0..operands().len()).all(|n| is_true(&nth(n)))),
        "$or" => Bson::Boolean((0..operands().len()).any(|n| is_true(&nth(n)))),
        "$in" => Bson::Boolean(array(&operands()[1]).contains(&nth(0))),
        "$isArray" => Bson::Boolean(nth(0).as_array().is_some()),
        "$setIsSubset" => {
            let all = array(&operands()[1]);
            Bson::Boolean(array(&operands()[0]).iter().all(|item| all.contains(item)))
        }
        "$add" => match (nth(0), nth(1)) {
            (Bson::Int64(a), Bson::Int64(b)) => Bson::Int64(a + b),
            (Bson::Null, _) | (_, Bson::Null) => Bson::Null,
            other => panic!("$add: {other:?}"),
        },
        "$size" => Bson::Int32(i32::try_from(array(operand).len()).unwrap()),
        "$first" => return array(operand).into_iter().next(),
        "$last" => return array(operand).into_iter().next_back(),
        "$concatArrays" => Bson::Array(operands().iter().flat_map(array).collect()),
        "$setUnion" => {
            let mut union = Vec::new();
            for item in operands().iter().flat_map(array) {
                if !union.contains(&item) {
                    union.push(item);
                }
            }
            Bson::Array(union)
        }
        "$slice" => {
            let last = nth(1).as_i32().and_then(|n| usize::try_from(-n).ok()).expect("the last items");
            let items = array(&operands()[0]);
            Bson::Array(items[items.len().saturating_sub(last)..].to_vec())
        }
        "$unsetField" => {
            let field = operand.as_document().unwrap();
            let mut object = value(&field["input"], variables)?.as_document().unwrap().clone();
            object.remove(field.get_str("field").unwrap());
            Bson::Document(object)
        }
        "$filter" | "$map" | "$sortArray" | "$let" => return apply_to_fields(operator, operand, variables),
        other => panic!("{other} is not known"),
    })
}

/// Operators whose operands have names.
fn apply_to_fields(operator: &str, operand: &Bson, variables: &Variables) -> Option<Bson> {
    let operand = operand.as_document().expect("named operands");
    let input = || match value(&operand["input"], variables) {
        Some(Bson::Array(items)) => items,
        other => panic!("{operator}: not an array: {other:?}"),
    };
    let with = |name: &str, bound: Bson| {
        let mut inner = variables.clone();
        inner.insert(name.to_owned(), bound);
        inner
    };
    match operator {
        "$filter" => {
            let fits = |item: &Bson| {
                value(&operand["cond"], &with("this", item.clone())) == Some(Bson::Boolean(true))
            };
            Some(Bson::Array(input().into_iter().filter(fits).collect()))
        }
        "$map" => {
            let name = operand.get_str("as").unwrap();
            let changed = |item: Bson| value(&operand["in"], &with(name, item)).unwrap_or(Bson::Null);
            Some(Bson::Array(input().into_iter().map(changed).collect()))
        }
        "$sortArray" => {
            let by = operand.get_document("sortBy").ok();
            let key = |item: &Bson| -> Bson {
                let Some(by) = by else { return item.clone() };
                by.keys().map(|name| at_path(item, name).unwrap_or(Bson::Null)).collect::<Vec<_>>().into()
            };
            let mut items = input();
            items.sort_by(|a, b| compare(&key(a), &key(b)));
            Some(Bson::Array(items))
        }
        _ => {
            let mut inner = variables.clone();
            for (name, bound) in operand.get_document("vars").unwrap() {
                inner.insert(name.clone(), value(bound, variables)?);
            }
            value(&operand["in"], &inner)
        }
    }
}

/// The order of values in MongoDB, for the types that the store compares.
fn compare(a: &Bson, b: &Bson) -> Ordering {
    let rank = |value: &Bson| match value {
        Bson::Null => 0,
        Bson::Int32(_) | Bson::Int64(_) => 1,
        Bson::String(_) => 2,
        Bson::Array(_) => 3,
        Bson::DateTime(_) => 4,
        other => panic!("{other} is not compared"),
    };
    match (a, b) {
        (Bson::Int32(a), Bson::Int32(b)) => a.cmp(b),
        (Bson::Int64(a), Bson::Int64(b)) => a.cmp(b),
        (Bson::String(a), Bson::String(b)) => a.cmp(b),
        (Bson::DateTime(a), Bson::DateTime(b)) => a.cmp(b),
        (Bson::Array(a), Bson::Array(b)) => {
            let items = a.iter().zip(b).map(|(a, b)| compare(a, b));
            items.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
        }
        (a, b) => rank(a).cmp(&rank(b)),
    }
}
