//! Facts that several sources report. If their values differ, the smaller or the larger one is kept.
//!
//! [`Fact`] defines name, type and rule of each.

use mongodb::bson::{Bson, Document, RawDocumentBuf, raw::CStr};

use crate::{
    domain::call::{Fact, FactType, FactValue, Facts},
    store::{
        convert::{bson_date, timestamp},
        error::{UNSTORABLE, Unstorable},
    },
};

fn name(fact: Fact) -> Result<&'static CStr, Unstorable> {
    fact.name().try_into().map_err(|_error| UNSTORABLE)
}

/// Appends the facts.
pub(super) fn append(fields: &mut RawDocumentBuf, facts: &Facts) -> Result<(), Unstorable> {
    for (fact, value) in facts {
        match value {
            FactValue::Text(text) => fields.append(name(*fact)?, text.as_str()),
            FactValue::Time(time) => fields.append(name(*fact)?, bson_date(*time)),
            FactValue::Number(number) => fields.append(name(*fact)?, *number),
        }
    }
    Ok(())
}

/// Reads the facts. A stored value of a wrong type is left out.
pub(super) fn read(document: &Document) -> Facts {
    let fact = |fact: Fact| Some((fact, value(fact.value_type(), document.get(fact.name())?)?));
    Fact::ALL.into_iter().filter_map(fact).collect()
}

fn value(value_type: FactType, value: &Bson) -> Option<FactValue> {
    match value_type {
        FactType::Text => value.as_str().map(|text| FactValue::Text(text.to_owned())),
        FactType::Time => timestamp(value).map(FactValue::Time),
        FactType::Number => value.as_i64().map(FactValue::Number),
    }
}
