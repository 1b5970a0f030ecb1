//! Logging in: greeting, TLS, authentication.

use crate::wire::{
    ServerError, WireError, auth,
    packet::Wire,
    read::{Fields, put_packed_bytes},
    tls::TlsClient,
};

const LONG_PASSWORD: u32 = 1;
const LONG_FLAG: u32 = 1 << 2;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
const CONNECT_ATTRIBUTES: u32 = 1 << 20;
const LONG_AUTH_DATA: u32 = 1 << 21;
const DEPRECATE_EOF: u32 = 1 << 24;

const WANTED: u32 = LONG_PASSWORD
    | LONG_FLAG
    | PROTOCOL_41
    | TRANSACTIONS
    | SECURE_CONNECTION
    | PLUGIN_AUTH
    | CONNECT_ATTRIBUTES
    | LONG_AUTH_DATA
    | DEPRECATE_EOF;

/// The largest packet that we accept: the protocol's own limit.
const PACKET_BYTES_MAX: u32 = 1 << 30;

/// `utf8mb4_general_ci`, which every server knows.
const COLLATION: u8 = 45;

/// Who logs in.
pub(crate) struct Login<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a [u8],
    pub(crate) tls: Option<TlsClient>,
}

/// What the server says of itself.
struct Greeting {
    version: String,
    capabilities: u32,
    nonce: Vec<u8>,
    plugin: String,
}

/// Logs in and answers with the connection and the server's version text.
pub(crate) async fn log_in(mut wire: Wire, login: Login<'_>) -> Result<(Wire, String), WireError> {
    let greeting = {
        let packet = wire.read_checked().await?;
        parse_greeting(packet)?
    };
    if greeting.capabilities & (PLUGIN_AUTH | DEPRECATE_EOF) != PLUGIN_AUTH | DEPRECATE_EOF {
        return Err(WireError::Protocol("the server is older than MySQL 5.7.5"));
    }
    let mut capabilities = WANTED;
    let encrypted = login.tls.is_some();
    if let Some(tls) = &login.tls {
        if greeting.capabilities & SSL == 0 {
            return Err(WireError::Tls("the server does not offer TLS".to_owned()));
        }
        capabilities |= SSL;
        wire.write(&response_head(capabilities)).await?;
        let (socket, sequence) = wire.into_socket()?;
        wire = Wire::new(tls.encrypt(socket).await?);
        wire.set_sequence(sequence);
    }
    let proof = first_proof(&greeting.plugin, login.password, &greeting.nonce);
    wire.write(&response(
        capabilities,
        login.user,
        &proof,
        &greeting.plugin,
    ))
    .await?;
    let exchange = Exchange {
        plugin: greeting.plugin,
        nonce: greeting.nonce,
        password: login.password,
        encrypted,
    };
    exchange.run(&mut wire).await?;
    Ok((wire, greeting.version))
}

fn parse_greeting(packet: &[u8]) -> Result<Greeting, WireError> {
    if packet.first() != Some(&10) {
        return Err(WireError::Protocol(
            "what answers there is not a MySQL server",
        ));
    }
    let read = || -> Option<Greeting> {
        let mut fields = Fields(&packet[1..]);
        let version = String::from_utf8_lossy(fields.until_zero()?).into_owned();
        fields.u32()?;
        let mut nonce = fields.bytes(8)?.to_vec();
        fields.u8()?;
        let low = fields.u16()?;
        fields.bytes(3)?;
        let high = fields.u16()?;
        let nonce_bytes = usize::from(fields.u8()?);
        fields.bytes(10)?;
        let rest = fields.bytes(nonce_bytes.saturating_sub(8).max(13))?;
        nonce.extend_from_slice(&rest[..rest.len() - 1]);
        let plugin = fields.until_zero().unwrap_or(fields.0);
        Some(Greeting {
            version,
            capabilities: u32::from(high) << 16 | u32::from(low),
            nonce,
            plugin: String::from_utf8_lossy(plugin).into_owned(),
        })
    };
    read().ok_or(WireError::Protocol("the server's greeting is cut short"))
}

fn response_head(capabilities: u32) -> Vec<u8> {
    let mut out = capabilities.to_le_bytes().to_vec();
    out.extend_from_slice(&PACKET_BYTES_MAX.to_le_bytes());
    out.push(COLLATION);
    out.extend_from_slice(&[0; 23]);
    out
}

fn response(capabilities: u32, user: &str, proof: &[u8], plugin: &str) -> Vec<u8> {
    let mut out = response_head(capabilities);
    out.extend_from_slice(user.as_bytes());
    out.push(0);
    put_packed_bytes(&mut out, proof);
    out.extend_from_slice(plugin.as_bytes());
    out.push(0);
    let mut attributes = Vec::new();
    for text in [
        "program_name",
        "sluice",
        "_client_version",
        env!("CARGO_PKG_VERSION"),
    ] {
        put_packed_bytes(&mut attributes, text.as_bytes());
    }
    put_packed_bytes(&mut out, &attributes);
    out
}

fn first_proof(plugin: &str, password: &[u8], nonce: &[u8]) -> Vec<u8> {
    match plugin {
        "mysql_native_password" => auth::native(password, nonce),
        "caching_sha2_password" => auth::caching_sha2(password, nonce),
        // The server will ask for another plugin or for more.
        _ => Vec::new(),
    }
}

/// The rest of the talk about the password.
struct Exchange<'a> {
    plugin: String,
    nonce: Vec<u8>,
    password: &'a [u8],
    encrypted: bool,
}

impl Exchange<'_> {
    async fn run(mut self, wire: &mut Wire) -> Result<(), WireError> {
        loop {
            let packet = wire.read_checked().await?;
            let answer = match (packet[0], &packet[1..]) {
                (0, _) => return Ok(()),
                (0xfe, request) => self.switch(request)?,
                (1, [3]) => continue, // The fast path was enough; OK follows.
                (1, [4]) if self.encrypted => self.clear_text(),
                (1, [4]) => vec![2], // Asks for the public key.
                (1, key) => auth::encrypted(self.password, &self.nonce, key)?,
                _ => return Err(WireError::Protocol("unexpected packet while logging in")),
            };
            wire.write(&answer).await?;
        }
    }

    fn switch(&mut self, request: &[u8]) -> Result<Vec<u8>, WireError> {
        let mut fields = Fields(request);
        let plugin = fields.until_zero().ok_or(WireError::Protocol(
            "the server asks for a very old authentication",
        ))?;
        self.plugin = String::from_utf8_lossy(plugin).into_owned();
        self.nonce = fields.0.strip_suffix(&[0]).unwrap_or(fields.0).to_vec();
        match self.plugin.as_str() {
            "mysql_native_password" | "caching_sha2_password" => {
                Ok(first_proof(&self.plugin, self.password, &self.nonce))
            }
            "sha256_password" | "mysql_clear_password" if self.encrypted => Ok(self.clear_text()),
            "sha256_password" => Ok(vec![1]), // Asks for the public key.
            _ => Err(WireError::Server(ServerError {
                code: 2059,
                message: format!("authentication plugin {} is not supported", self.plugin),
            })),
        }
    }

    fn clear_text(&self) -> Vec<u8> {
        [self.password, &[0]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_that_is_cut_short_or_foreign_is_refused() {
        assert!(parse_greeting(b"\x0a8.0.1\0\x01\0\0").is_err());
        assert!(parse_greeting(b"HTTP/1.1 400").is_err());
        assert!(parse_greeting(b"").is_err());
    }
}
