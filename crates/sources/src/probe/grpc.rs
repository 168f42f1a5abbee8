//! Health by gRPC.

use tonic::transport::Endpoint;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{Answered, NoAnswer};

/// The longest answer that is read, in bytes: a status needs two.
const LARGEST_ANSWER: usize = 1024;

/// Asks over a connection of its own, without TLS.
pub(super) async fn check(address: String, service: &str) -> Result<Answered, NoAnswer> {
    let unconnected = |error: tonic::transport::Error| NoAnswer::Unconnected(in_words(&error));
    let endpoint = Endpoint::from_shared(address).map_err(unconnected)?;
    let channel = endpoint.connect().await.map_err(unconnected)?;
    let mut client = HealthClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    match client.check(request).await {
        Ok(answer) => Ok(match answer.into_inner().status() {
            ServingStatus::Serving => Answered::Well,
            other => Answered::Ill(format!("health is {}", other.as_str_name())),
        }),
        // The server's message is not repeated: it may be any text.
        Err(status) => Ok(Answered::Ill(format!("gRPC status {:?}", status.code()))),
    }
}

/// The causes of an error. The outermost text says nothing.
fn in_words(error: &tonic::transport::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
