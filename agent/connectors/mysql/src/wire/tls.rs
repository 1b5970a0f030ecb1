//! TLS, in the four strengths that a pipeline can ask for.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio_rustls::TlsConnector;

use crate::wire::{WireError, packet::Socket};

/// What a connection asks of TLS, with the certificates read.
pub(crate) struct TlsOptions {
    /// The server's name.
    pub(crate) host: String,
    /// Whether the certificate must come from a trusted authority.
    pub(crate) verify_authority: bool,
    /// Whether it must be for this host.
    pub(crate) verify_host: bool,
    /// The trusted authorities (PEM); the system's without.
    pub(crate) authorities: Option<Vec<u8>>,
    /// The client's certificate chain and key (PEM).
    pub(crate) client: Option<(Vec<u8>, Vec<u8>)>,
}

/// Ready to encrypt connections.
pub(crate) struct TlsClient {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsClient {
    pub(crate) fn new(options: &TlsOptions) -> Result<Self, WireError> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = if options.verify_authority {
            let roots = Arc::new(roots(options.authorities.as_deref())?);
            let strict = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| WireError::Tls(error.to_string()))?;
            if options.verify_host {
                strict
            } else {
                Arc::new(AnyHost(strict))
            }
        } else {
            Arc::new(Anybody(Arc::clone(&provider)))
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(tls_error)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &options.client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
                let chain = chain.map_err(|error| bad_pem("client certificate", &error))?;
                let key = PrivateKeyDer::from_pem_slice(key);
                let key = key.map_err(|error| bad_pem("client key", &error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(tls_error)?
            }
        };
        let name = ServerName::try_from(options.host.clone())
            .map_err(|_| WireError::Tls(format!("{:?} is no host name", options.host)))?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name,
        })
    }

    pub(crate) async fn encrypt(
        &self,
        socket: Box<dyn Socket>,
    ) -> Result<Box<dyn Socket>, WireError> {
        match self.connector.connect(self.name.clone(), socket).await {
            Ok(stream) => Ok(Box::new(stream)),
            // What TLS has against the server comes wrapped in an I/O error.
            Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(cause) => Err(tls_error::<&rustls::Error>(cause)),
                None => Err(WireError::Tls(error.to_string())),
            },
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as map_err's function")]
fn tls_error<E: ToString>(error: E) -> WireError {
    WireError::Tls(error.to_string())
}

fn bad_pem(what: &str, error: &rustls::pki_types::pem::Error) -> WireError {
    WireError::Tls(format!("the {what} is not PEM: {error}"))
}

fn roots(pem: Option<&[u8]>) -> Result<RootCertStore, WireError> {
    let mut store = RootCertStore::empty();
    match pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| bad_pem("authority", &error))?;
                store.add(certificate).map_err(tls_error)?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if store.is_empty() {
        return Err(WireError::Tls("there is no trusted authority".to_owned()));
    }
    Ok(store)
}

/// Accepts a certificate of a trusted authority for whatever host.
#[derive(Debug)]
struct AnyHost(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is checked last: everything else was in order.
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

/// Accepts any certificate: the mode `Require` asks for encryption alone.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
