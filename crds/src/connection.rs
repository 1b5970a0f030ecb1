//! How servers are reached: credentials and TLS.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// User name and password, by reference: a custom resource never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// The Secret in the same namespace whose keys `username` and `password` are used. A changed
    /// Secret is read again at the next connect.
    pub secret_ref: SecretReference,
}

/// Names a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Names one key of a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateReference {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key inside it.
    #[serde(default = "default_authority_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Whether and how a connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "self.mode != 'Disable' || !(has(self.caSecretRef) || has(self.clientSecretRef))"
).message("caSecretRef and clientSecretRef have no effect with mode Disable: choose another mode"))]
pub struct Tls {
    /// How much is checked.
    #[serde(default)]
    pub mode: TlsMode,
    /// The certificate authority (PEM) that signed the server's certificate. Without it the
    /// authorities of the agent's image are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CertificateReference>,
    /// The Secret with the client's own certificate: keys `tls.crt` and `tls.key` (PEM), as in
    /// Secrets of the type `kubernetes.io/tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<SecretReference>,
}

/// How much of a TLS connection is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// Plain text.
    Disable,
    /// Encrypted, but the server may be anybody.
    Require,
    /// Encrypted, and the server's certificate comes from the authority.
    VerifyCa,
    /// Encrypted, and the certificate comes from the authority and is for this host.
    #[default]
    VerifyFull,
}

fn default_authority_key() -> String {
    "ca.crt".to_owned()
}
