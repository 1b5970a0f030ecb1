//! Kafka's errors as the pipeline's: who is to blame, what is done about it, and the remedy.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};
use sluice_core::{Error, Reason};

/// Classifies an error of a client. `doing` says what failed, such as `writing to topic shop.orders`.
pub(crate) fn classify(brokers: &str, doing: &str, error: KafkaError) -> Error {
    if let KafkaError::ClientConfig(_, description, key, _) = &error {
        // The value stays out: it may be a secret.
        let message = format!("kafka client property {key} is refused: {description}");
        return Error::new(Reason::InvalidConfig, message)
            .with_hint(format!("correct or remove {key} in spec.kafka.config"));
    }
    let code = code_of(&error);
    let (reason, hint) = judge(code);
    let message = match reason {
        Reason::Unreachable => format!("{doing}: kafka at {brokers} can't be reached"),
        _ => format!("{doing}: kafka at {brokers} answered"),
    };
    let error = Error::new(reason, message).with_source(error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Classifies a code alone, as admin requests and delivery reports give it.
pub(crate) fn classify_code(brokers: &str, doing: &str, code: Code) -> Error {
    classify(brokers, doing, KafkaError::Global(code))
}

/// The code inside an error.
pub(crate) fn code_of(error: &KafkaError) -> Code {
    match error {
        KafkaError::Transaction(error) => error.code(),
        other => other.rdkafka_error_code().unwrap_or(Code::Unknown),
    }
}

fn judge(code: Code) -> (Reason, Option<&'static str>) {
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed => (
            Reason::AccessDenied,
            Some("check security.sasl: mechanism, and the Secret's username and password"),
        ),
        Code::SSL => (
            Reason::TlsFailed,
            Some(
                "check security.protocol and security.tls (the authority's certificate, the name)",
            ),
        ),
        Code::TopicAuthorizationFailed => (
            Reason::MissingPrivilege,
            Some(
                "kafka-acls --add --allow-principal User:… --operation Read --operation Write \
                 --operation Describe --operation Create --operation DescribeConfigs \
                 --topic '<source>.' --resource-pattern-type prefixed",
            ),
        ),
        Code::TransactionalIdAuthorizationFailed => (
            Reason::MissingPrivilege,
            Some(
                "kafka-acls --add --allow-principal User:… --operation Write --operation Describe \
                 --transactional-id sluice- --resource-pattern-type prefixed",
            ),
        ),
        Code::GroupAuthorizationFailed => (
            Reason::MissingPrivilege,
            Some(
                "kafka-acls --add --allow-principal User:… --operation Read --group '<the group>'",
            ),
        ),
        Code::ClusterAuthorizationFailed => (
            Reason::MissingPrivilege,
            Some(
                "kafka-acls --add --allow-principal User:… --operation IdempotentWrite \
                 --operation Create --cluster",
            ),
        ),
        Code::InvalidTransactionTimeout => (
            Reason::InvalidConfig,
            Some(
                "lower transaction.timeout.ms in spec.kafka.config, or raise \
                 transaction.max.timeout.ms on the brokers",
            ),
        ),
        Code::MessageSizeTooLarge => (
            Reason::LimitExceeded,
            Some(
                "raise max.message.bytes of the topic: kafka-configs --alter --entity-type topics \
                 --entity-name … --add-config max.message.bytes=…",
            ),
        ),
        Code::UnsupportedVersion | Code::UnsupportedFeature => (
            Reason::InvalidConfig,
            Some("the brokers must be Kafka 2.5 or newer"),
        ),
        Code::PolicyViolation | Code::InvalidReplicationFactor | Code::InvalidPartitions => (
            Reason::InvalidConfig,
            Some("set partitions and replicationFactor to what the brokers allow"),
        ),
        Code::OffsetOutOfRange | Code::AutoOffsetReset => (
            Reason::PositionLost,
            Some("the topic no longer holds the position: raise its retention, copy again"),
        ),
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => (
            Reason::Unavailable,
            Some("fewer replicas are in sync than min.insync.replicas asks for"),
        ),
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::NetworkException
        | Code::MessageTimedOut
        | Code::QueueFull => (
            Reason::Unreachable,
            Some("check bootstrapServers, advertised.listeners and the network; tried for ever"),
        ),
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => (
            Reason::Unavailable,
            Some("the topic is missing; it is created at the next attempt if that is allowed"),
        ),
        // Elections, coordinators that move, producers that must begin anew. Whether a newer agent has
        // taken a producer's place is told when the sink is opened again.
        _ => (Reason::Unavailable, None),
    }
}

#[cfg(test)]
mod tests {
    use sluice_core::Class;

    use super::*;

    #[test]
    fn a_broker_that_is_down_is_tried_again() {
        let error = classify_code("k:9092", "writing", Code::AllBrokersDown);
        assert_eq!(error.class(), Class::Retry);
        assert!(error.message().contains("k:9092"));
    }

    #[test]
    fn a_missing_privilege_comes_with_the_statement() {
        let error = classify_code("k:9092", "writing", Code::TopicAuthorizationFailed);
        assert_eq!(error.reason(), Reason::MissingPrivilege);
        assert!(
            error
                .hint()
                .unwrap_or_default()
                .starts_with("kafka-acls --add")
        );
    }

    #[test]
    fn a_producer_that_lost_its_place_begins_anew() {
        let error = classify_code("k:9092", "committing", Code::Fenced);
        assert_eq!(error.class(), Class::Retry);
    }
}
