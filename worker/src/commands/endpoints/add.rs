//! `endpoints add`.

use jiff::Timestamp;

use super::{
    options::Add,
    output::{json, print_secret},
};
use crate::{
    Context,
    commands::print_line,
    domain::delivery::{EndpointId, Filter, SigningSecret},
    endpoints::{self, NewEndpoint},
};

/// Adds an endpoint, and shows its secret.
pub async fn add(context: &Context, options: &Add) -> anyhow::Result<()> {
    let Add { url, kind, types, agents, batches, since, json: as_json } = options.clone();
    let filter = Filter { types, agents, batches };
    let id = EndpointId::new(rand::random());
    let endpoint = endpoints::add(context, NewEndpoint { id, url, kind, filter, since }).await?.endpoint();
    let secret = endpoint.secrets.valid(Timestamp::now()).next();
    if as_json {
        let mut fields = json(&endpoint);
        fields["secret"] = secret.map(SigningSecret::expose).into();
        return print_line(fields);
    }
    print_line(format!("added: endpoint {} at {}", endpoint.id, endpoint.url))?;
    match secret {
        Some(secret) => print_secret(secret),
        None => print_line("it gets webhooks with the provider's own signature, so it has no secret of ours"),
    }
}
