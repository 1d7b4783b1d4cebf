//! The schemas of a request that places a call, and of its answer.

use aftercall_worker::roles::api::{MAX_ID, MAX_METADATA, MAX_METADATA_NAME, MAX_METADATA_TEXT};
use utoipa::openapi::{Object, ObjectBuilder, RefOr, Schema, Type, schema::AnyOfBuilder};

use crate::schema::{closed_object, named, named_or_null, object, open_object, or_null, text, truth, word};

/// The fields of a call by `WhatsApp`, all of them required.
const WHATSAPP: [(&str, &str); 4] = [
    ("whatsappPhoneNumberId", "Id of the WhatsApp number at ElevenLabs."),
    ("whatsappUserId", "Who is called."),
    ("whatsappCallPermissionRequestTemplateName", "Name of the template that asks for permission."),
    ("whatsappCallPermissionRequestTemplateLanguageCode", "Language of this template."),
];

/// Every schema of this module with its name.
pub fn schemas() -> Vec<(&'static str, RefOr<Schema>)> {
    let any = AnyOfBuilder::new()
        .item(named("PhoneCall"))
        .item(named("TrunkCall"))
        .item(named("WhatsAppCall"))
        .description(Some("The call to place. An unknown field is refused."));
    vec![
        ("Placement", Schema::from(any).into()),
        ("PhoneCall", phone_call().into()),
        ("TrunkCall", trunk_call().into()),
        ("WhatsAppCall", whatsapp_call().into()),
        ("PlacedCall", placed_call().into()),
        ("CallQuestion", call_question().into()),
    ]
}

fn phone_call() -> Object {
    let provider = word("Who carries the call: `twilio` if absent.", ["twilio"]);
    let recorded = truth("Whether the call is recorded; passed on to ElevenLabs.");
    telephone("A telephone call by Twilio.")
        .property("provider", or_null(provider.build()))
        .property("callRecordingEnabled", or_null(recorded.build()))
        .build()
}

fn trunk_call() -> Object {
    telephone("A telephone call by a SIP trunk or Exotel.")
        .property("provider", word("Who carries the call.", ["sip", "exotel"]))
        .required("provider")
        .build()
}

fn telephone(description: &str) -> ObjectBuilder {
    common(description)
        .property("agentPhoneNumberId", id("Id of the agent's number at ElevenLabs."))
        .property("toNumber", text("Who is called, in E.164 form.").pattern(Some(r"^\+[0-9]{7,15}$")))
        .property("telephonyCallConfig", or_null(open_object("Passed on to ElevenLabs.").build()))
        .required("agentPhoneNumberId")
        .required("toNumber")
}

fn whatsapp_call() -> Object {
    let mut call =
        common("A call by WhatsApp.").property("provider", word("Who carries the call.", ["whatsapp"]));
    for (name, description) in WHATSAPP {
        call = call.property(name, id(description)).required(name);
    }
    call.required("provider").build()
}

/// The fields of every call.
fn common(description: &str) -> ObjectBuilder {
    let variables = or_null(open_object("Variables for the agent.").build());
    let client_data = open_object("Passed on to ElevenLabs as `conversation_initiation_client_data`.")
        .property("dynamic_variables", variables);
    closed_object(description)
        .property("agentId", id("Id of the agent at ElevenLabs."))
        .property("metadata", or_null(metadata()))
        .property("conversationInitiationClientData", or_null(client_data.build()))
        .required("agentId")
}

fn metadata() -> Object {
    let name = text("Letters, digits, `_` and `-`.")
        .pattern(Some(format!("^[A-Za-z0-9_-]{{1,{MAX_METADATA_NAME}}}$")));
    let value: Schema = text("A text.").max_length(Some(MAX_METADATA_TEXT)).build().into();
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(name.build()))
        .additional_properties(Some(value))
        .max_properties(Some(MAX_METADATA))
        .description(Some(
            "Your own texts. They are kept as `placementMetadata`; ElevenLabs does not get them.",
        ))
        .build()
}

fn id(description: &str) -> ObjectBuilder {
    text(description).pattern(Some(format!("^[!-~]{{1,{MAX_ID}}}$")))
}

fn placed_call() -> Object {
    let known = "Absent or null while it is not known.";
    object("The call that was placed.")
        .property("placementId", text("Id of the placement."))
        .property("callId", or_null(text(known).build()))
        .property("conversationId", or_null(text(known).build()))
        .property("status", named_or_null("Status"))
        .required("placementId")
        .build()
}

/// A question names the call by one of its ids. Further ids may be there, also blank or null.
fn call_question() -> Schema {
    let questions = IDS.into_iter().fold(AnyOfBuilder::new(), |questions, (named, ..)| {
        let fields = IDS.into_iter().fold(
            closed_object("").required(named),
            |fields, (name, pattern, description)| {
                let blank = text(description).pattern(Some(format!("^ *({pattern})? *$"))).build();
                let given = text(description).pattern(Some(format!("^ *{pattern} *$"))).build();
                fields.property(name, if name == named { given } else { or_null(blank) })
            },
        );
        questions.item(fields.description(Some(format!("Asks by `{named}`."))))
    });
    let description = "At least one of the ids. `callSid` is another name of `callId`.";
    questions.description(Some(description)).into()
}

/// The ids that name a call: field, pattern, description.
const IDS: [(&str, &str, &str); 3] = [
    ("callId", "[!-~]{1,256}", "Id of the call at the carrier."),
    ("conversation_id", "[A-Za-z0-9_-]{1,128}", "Id of the conversation at ElevenLabs."),
    ("placementId", "[A-Za-z0-9-]{1,64}", "Id of the placement."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aftercall_worker::roles::api::known_fields;

    use super::*;

    #[test]
    fn the_three_kinds_of_calls_have_every_field_of_a_request() {
        let described: BTreeSet<_> = [phone_call(), trunk_call(), whatsapp_call()]
            .into_iter()
            .flat_map(|call| call.properties.into_iter().map(|(name, _)| name))
            .collect();
        assert_eq!(described, known_fields().map(str::to_owned).collect());
    }
}
