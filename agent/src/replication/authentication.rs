//! Logging in: SCRAM-SHA-256 with and without channel binding, MD5, cleartext.

use super::framing::{Framed, Incoming};
use super::server_error::{error_of, log_notice};
use crate::conninfo::{ChannelBinding, Endpoint};
use crate::error::{Error, Kind, Result};
use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;

/// The next message that is part of the log-in.
async fn next(framed: &mut Framed) -> Result<Message> {
    loop {
        match framed.next().await? {
            Incoming::Other(Message::ErrorResponse(body)) => return Err(error_of(body.fields())),
            Incoming::Other(Message::NoticeResponse(body)) => log_notice(&body),
            Incoming::Other(message) => return Ok(message),
            Incoming::CopyBoth | Incoming::CopyData(_) => return Err(unexpected()),
        }
    }
}

/// Goes through whatever the server asks for, up to its `AuthenticationOk`.
pub(super) async fn authenticate(
    framed: &mut Framed,
    endpoint: &Endpoint,
    password: Option<&str>,
) -> Result<()> {
    let mut bound = false;
    loop {
        let mut answer = BytesMut::new();
        match next(framed).await? {
            Message::AuthenticationOk => break,
            Message::AuthenticationCleartextPassword => {
                frontend::password_message(given(password)?.as_bytes(), &mut answer)?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash =
                    md5_hash(endpoint.user.as_bytes(), given(password)?.as_bytes(), body.salt());
                frontend::password_message(hash.as_bytes(), &mut answer)?;
            }
            Message::AuthenticationSasl(body) => {
                bound = scram(framed, endpoint, &body, given(password)?).await?;
                continue;
            }
            Message::AuthenticationGss
            | Message::AuthenticationKerberosV5
            | Message::AuthenticationSspi
            | Message::AuthenticationScmCredential => {
                return Err(failed(
                    "the server wants an authentication method that is not supported",
                )
                .hint("Use scram-sha-256, md5, password, cert, peer or trust in pg_hba.conf."));
            }
            _ => return Err(unexpected()),
        }
        framed.send(&answer).await?;
    }
    if endpoint.channel_binding == ChannelBinding::Require && !bound {
        return Err(failed("channel binding required, but the server authenticated without it"));
    }
    Ok(())
}

/// True if the exchange was bound to the TLS channel.
async fn scram(
    framed: &mut Framed,
    endpoint: &Endpoint,
    body: &AuthenticationSaslBody,
    password: &str,
) -> Result<bool> {
    let (mut plain, mut plus) = (false, false);
    let mut mechanisms = body.mechanisms();
    while let Some(mechanism) = mechanisms.next()? {
        plain |= mechanism == sasl::SCRAM_SHA_256;
        plus |= mechanism == sasl::SCRAM_SHA_256_PLUS;
    }
    let end_point = match endpoint.channel_binding {
        ChannelBinding::Disable => None,
        ChannelBinding::Prefer | ChannelBinding::Require => framed.stream().end_point(),
    };
    let (mechanism, binding) = match end_point {
        Some(hash) if plus => {
            (sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(hash.to_vec()))
        }
        _ if !plain => return Err(failed("the server offers no SASL mechanism that is supported")),
        // "We could, you did not offer": a server that did offer then sees the man in the middle.
        Some(_) => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
        None => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
    };
    let mut scram = sasl::ScramSha256::new(password.as_bytes(), binding);
    let mut answer = BytesMut::new();
    frontend::sasl_initial_response(mechanism, scram.message(), &mut answer)?;
    framed.send(&answer).await?;
    let Message::AuthenticationSaslContinue(body) = next(framed).await? else {
        return Err(unexpected());
    };
    scram.update(body.data()).map_err(|error| failed("SCRAM failed").caused_by(error))?;
    answer.clear();
    frontend::sasl_response(scram.message(), &mut answer)?;
    framed.send(&answer).await?;
    let Message::AuthenticationSaslFinal(body) = next(framed).await? else {
        return Err(unexpected());
    };
    // The server proves here that it knows the password too.
    scram.finish(body.data()).map_err(|error| failed("SCRAM failed").caused_by(error))?;
    Ok(mechanism == sasl::SCRAM_SHA_256_PLUS)
}

fn given(password: Option<&str>) -> Result<&str> {
    password.ok_or_else(|| {
        failed("no password supplied").hint("Give it in ~/.pgpass, PGPASSWORD or the dsn.")
    })
}

fn failed(message: &str) -> Error {
    Error::new(Kind::Authentication, message)
}

fn unexpected() -> Error {
    Error::protocol("unexpected message from the server while logging in")
}
