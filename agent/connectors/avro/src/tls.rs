//! The TLS half of a connection to the registry: one rustls configuration for each [`TlsMode`].
//!
//! Certificates and keys are read anew at every connect, so that a rotated one takes effect with
//! the next request. Whatever can't be read or parsed is an error that names the Secret's key.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use sluice_agent_api::{
    SecretKey, SecretStore,
    config::{TlsConfig, TlsMode},
};
use sluice_core::{Error, Reason, Result};

/// Where systems keep the authorities that they trust.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Makes the client's configuration. [`TlsMode::Disable`] counts as `VerifyFull`: the address says `https`.
pub(crate) fn client_config(tls: &TlsConfig, secrets: &dyn SecretStore) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(tls, secrets, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed("no TLS version can be used", error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(client) = &tls.client else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(&client.certificate, secrets)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&client.key, secrets)?)
        .map_err(|error| failed(format!("secret {} holds no private key", client.key), error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| {
        let keys = format!("{} and {}", client.certificate, client.key);
        failed(format!("secrets {keys} do not fit together"), error)
    })
}

/// Reads a Secret's key.
pub(crate) fn read(key: &SecretKey, secrets: &dyn SecretStore) -> Result<Vec<u8>> {
    secrets.read(key).map_err(|error| {
        Error::new(
            Reason::AccessDenied,
            format!("secret {key} can't be read: {error}"),
        )
        .with_hint(format!(
            "create the secret {} with the key {}",
            key.name, key.key
        ))
    })
}

fn certificates(
    key: &SecretKey,
    secrets: &dyn SecretStore,
) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(key, secrets)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match parsed {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(Error::new(
            Reason::TlsFailed,
            format!("secret {key} holds no certificate"),
        )),
        Err(error) => Err(failed(format!("secret {key} is not PEM"), error)),
    }
}

fn verifier(
    tls: &TlsConfig,
    secrets: &dyn SecretStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>> {
    if tls.mode == TlsMode::Require {
        return Ok(Arc::new(AnyServer(Arc::clone(provider))));
    }
    let mut roots = RootCertStore::empty();
    let trusted = match &tls.ca {
        Some(key) => certificates(key, secrets)?,
        None => system_certificates()?,
    };
    roots.add_parsable_certificates(trusted);
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| failed("the authority's certificates can't be used", error))?;
    Ok(if tls.mode == TlsMode::VerifyCa {
        Arc::new(AnyName(chain))
    } else {
        chain
    })
}

fn system_certificates() -> Result<Vec<CertificateDer<'static>>> {
    let named = std::env::var_os("SSL_CERT_FILE").map(Into::into);
    let places = named
        .into_iter()
        .chain(SYSTEM_BUNDLES.iter().map(std::path::PathBuf::from));
    for place in places {
        if let Ok(iter) = CertificateDer::pem_file_iter(&place) {
            return Ok(iter.filter_map(Result::ok).collect());
        }
    }
    Err(Error::new(
        Reason::TlsFailed,
        "no authority is named and the system has no list of trusted ones",
    )
    .with_hint("name the authority's certificate in tls.caSecretRef"))
}

fn failed(
    message: impl Into<String>,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::new(Reason::TlsFailed, message).with_source(cause)
}

/// Trusts whoever answers, but insists that they hold their certificate's key.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks the chain and leaves the host's name aside.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self
            .0
            .verify_server_cert(certificate, intermediates, name, ocsp, now)
        {
            // The name is looked at after the chain was found good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
