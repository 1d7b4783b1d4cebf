//! Short ways to write schemas.

use serde_json::Value;
use utoipa::openapi::{
    ArrayBuilder, KnownFormat, Object, ObjectBuilder, Ref, RefOr, Schema, SchemaFormat, Type,
    schema::{AdditionalProperties, AnyOfBuilder, SchemaType},
};

/// A text.
pub fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

/// One of `words`.
pub fn word<'a>(description: &str, words: impl IntoIterator<Item = &'a str>) -> ObjectBuilder {
    text(description).enum_values(Some(words))
}

/// A whole number from 0 on.
pub fn number(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(0))
        .description(Some(description))
}

/// `true` or `false`.
pub fn truth(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Boolean).description(Some(description))
}

/// A time in RFC 3339.
pub fn time(description: &str) -> ObjectBuilder {
    text(description).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

/// An object whose fields are not described, because another party defines them.
pub fn open_object(description: &str) -> ObjectBuilder {
    object(description).additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
}

/// An object with the fields that follow. Later versions may add fields.
pub fn object(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object).description(Some(description))
}

/// An object with exactly the fields that follow.
pub fn closed_object(description: &str) -> ObjectBuilder {
    object(description).additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
}

/// Any value.
pub fn anything(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some(description))
}

/// A list.
pub fn list(description: &str, item: impl Into<RefOr<Schema>>) -> ArrayBuilder {
    ArrayBuilder::new().items(item.into()).description(Some(description))
}

/// The schema with this name.
pub fn named(name: &str) -> Ref {
    Ref::from_schema_name(name)
}

/// The schema with this name, or `null`.
pub fn named_or_null(name: &str) -> RefOr<Schema> {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    AnyOfBuilder::new().item(named(name)).item(null).into()
}

/// The same schema with `null` as a further value.
pub fn or_null(schema: Object) -> Object {
    let mut nullable = schema;
    nullable.schema_type = match nullable.schema_type {
        SchemaType::Type(known) => SchemaType::Array(vec![known, Type::Null]),
        other => other,
    };
    if let Some(words) = &mut nullable.enum_values {
        words.push(Value::Null);
    }
    nullable
}
