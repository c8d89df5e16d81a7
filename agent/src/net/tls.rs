//! TLS as libpq does it: what is checked depends on `sslmode`.
//!
//! | sslmode | certificate |
//! | --- | --- |
//! | allow, prefer, require | not checked, but `require` with a root file checks as verify-ca |
//! | verify-ca | signed by a trusted root |
//! | verify-full | and made out to the host's name |

use crate::conninfo::{Endpoint, RootCertificates, SslMode};
use crate::error::{Error, Kind, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
};
use std::path::Path;
use std::sync::Arc;

/// The client's side of the handshake for an endpoint.
pub(super) fn client_config(endpoint: &Endpoint) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(endpoint, &provider)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::config("TLS cannot be set up").caused_by(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &endpoint.client_certificate {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| unreadable("private key", key, error))?;
            builder.with_client_auth_cert(certificates(cert)?, key).map_err(|error| {
                Error::config(format!("certificate \"{}\" cannot be used", cert.display()))
                    .caused_by(error)
            })?
        }
    };
    config.enable_sni = endpoint.server_name_indication;
    Ok(config)
}

fn verifier(endpoint: &Endpoint, provider: &Arc<CryptoProvider>) -> Result<Verifier> {
    let algorithms = provider.signature_verification_algorithms;
    let anchors = match &endpoint.root_certificates {
        RootCertificates::Unchecked => Vec::new(),
        RootCertificates::File(path) => certificates(path)?,
        RootCertificates::System => rustls_native_certs::load_native_certs().certs,
    };
    let check = match (endpoint.ssl_mode, &endpoint.root_certificates) {
        (SslMode::VerifyFull, _) => Check::ChainAndName,
        (SslMode::VerifyCa, _) | (SslMode::Require, RootCertificates::File(_)) => Check::Chain,
        _ => return Ok(Verifier { check: Check::Nothing, chain: None, anchors, algorithms }),
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(anchors.iter().cloned());
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| {
            Error::config("no usable root certificate")
                .caused_by(error)
                .hint("sslrootcert names a file of PEM certificates, or is \"system\".")
        })?;
    Ok(Verifier { check, chain: Some(chain), anchors, algorithms })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable("certificate", path, error))
}

fn unreadable(what: &str, path: &Path, error: rustls::pki_types::pem::Error) -> Error {
    Error::config(format!("could not read {what} file \"{}\"", path.display())).caused_by(error)
}

/// What went wrong in a handshake, in libpq's words where it has them.
pub(super) fn handshake_error(error: std::io::Error) -> Error {
    let certificate = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>())
        .is_some_and(|inner| matches!(inner, TlsError::InvalidCertificate(_)));
    if !certificate {
        return Error::connection("SSL error").caused_by(error);
    }
    Error::new(Kind::Authentication, "the server's certificate was not accepted")
        .caused_by(error)
        .hint("Check sslrootcert, and that the certificate names the host (subjectAltName).")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

#[derive(Debug)]
struct Verifier {
    check: Check,
    chain: Option<Arc<WebPkiServerVerifier>>,
    anchors: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // A self-signed server certificate that is itself in the root file is trusted as it
        // stands, as OpenSSL has it; webpki would refuse an authority in a server's place.
        if self.anchors.iter().any(|anchor| anchor.as_ref() == end_entity.as_ref()) {
            if self.check == Check::ChainAndName {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        let verified =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name comes last: the chain was found good.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == Check::Chain => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
