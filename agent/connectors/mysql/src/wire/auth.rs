//! Proofs of the password, by authentication plugin.

use num_bigint::BigUint;
use ring::{
    digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

use crate::wire::WireError;

/// The proof for `caching_sha2_password`'s fast path.
pub(crate) fn caching_sha2(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = digest(&SHA256, password);
    let mut outer = Context::new(&SHA256);
    outer.update(digest(&SHA256, once.as_ref()).as_ref());
    outer.update(nonce);
    exclusive_or(once.as_ref(), outer.finish().as_ref())
}

/// The proof for `mysql_native_password`.
pub(crate) fn native(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = digest(&SHA1_FOR_LEGACY_USE_ONLY, password);
    let mut outer = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    outer.update(nonce);
    outer.update(digest(&SHA1_FOR_LEGACY_USE_ONLY, once.as_ref()).as_ref());
    exclusive_or(once.as_ref(), outer.finish().as_ref())
}

/// The password, encrypted with the server's public key (PEM): how it crosses a connection
/// without TLS.
pub(crate) fn encrypted(password: &[u8], nonce: &[u8], pem: &[u8]) -> Result<Vec<u8>, WireError> {
    let bad_key = || WireError::Protocol("the server sent a public key that is not RSA");
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| bad_key())?;
    let (modulus, exponent) = rsa_numbers(&key).ok_or_else(bad_key)?;
    let mut secret: Vec<u8> = password.to_vec();
    secret.push(0);
    for (byte, mask) in secret.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= mask;
    }
    let size = modulus.len();
    let mut seed = [0; SHA1_BYTES];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| WireError::Protocol("no random numbers"))?;
    let block = oaep(&secret, seed, size).ok_or(WireError::Protocol(
        "the password is too long for the server's RSA key",
    ))?;
    let number = BigUint::from_bytes_be(&block).modpow(
        &BigUint::from_bytes_be(exponent),
        &BigUint::from_bytes_be(modulus),
    );
    let digits = number.to_bytes_be();
    let mut padded = vec![0; size - digits.len()];
    padded.extend_from_slice(&digits);
    Ok(padded)
}

const SHA1_BYTES: usize = 20;

fn exclusive_or(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(a, b)| a ^ b).collect()
}

/// Pads a message as PKCS #1 OAEP with SHA-1 and an empty label does.
fn oaep(message: &[u8], seed: [u8; SHA1_BYTES], size: usize) -> Option<Vec<u8>> {
    let room = size.checked_sub(2 * SHA1_BYTES + 2)?;
    let padding = room.checked_sub(message.len())?;
    let mut block = digest(&SHA1_FOR_LEGACY_USE_ONLY, b"").as_ref().to_vec();
    block.resize(block.len() + padding, 0);
    block.push(1);
    block.extend_from_slice(message);
    let masked = exclusive_or(&block, &mask(&seed, block.len()));
    let masked_seed = exclusive_or(&seed, &mask(&masked, SHA1_BYTES));
    Some([&[0][..], &masked_seed, &masked].concat())
}

/// MGF1 with SHA-1.
fn mask(seed: &[u8], length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + SHA1_BYTES);
    for counter in 0_u32.. {
        if out.len() >= length {
            break;
        }
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(seed);
        context.update(&counter.to_be_bytes());
        out.extend_from_slice(context.finish().as_ref());
    }
    out.truncate(length);
    out
}

/// Modulus and exponent of a SubjectPublicKeyInfo.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    let (outer, _) = element(der, SEQUENCE)?;
    let (_algorithm, rest) = element(outer, SEQUENCE)?;
    let (bits, _) = element(rest, 0x03)?;
    let (numbers, _) = element(bits.strip_prefix(&[0])?, SEQUENCE)?;
    let (modulus, rest) = element(numbers, 0x02)?;
    let (exponent, _) = element(rest, 0x02)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    (!modulus.is_empty() && !exponent.is_empty()).then_some((modulus, exponent))
}

/// The content of a DER element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (
            digits
                .iter()
                .fold(0, |sum, &digit| sum << 8 | usize::from(digit)),
            rest,
        )
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_password_has_an_empty_proof() {
        assert!(caching_sha2(b"", &[1; 20]).is_empty());
        assert!(native(b"", &[1; 20]).is_empty());
    }

    #[test]
    fn a_padded_block_unpads_to_its_message() {
        let block = oaep(b"secret", [7; SHA1_BYTES], 128).unwrap();
        assert_eq!((block.len(), block[0]), (128, 0));
        let seed = exclusive_or(&block[1..21], &mask(&block[21..], SHA1_BYTES));
        assert_eq!(seed, [7; SHA1_BYTES]);
        let clear = exclusive_or(&block[21..], &mask(&seed, 107));
        assert!(clear.ends_with(b"\x01secret"));
        assert!(oaep(&[1; 100], [7; SHA1_BYTES], 128).is_none());
    }

    #[test]
    fn damaged_keys_are_refused() {
        assert!(encrypted(b"x", b"nonce", b"no key").is_err());
        assert!(rsa_numbers(&[0x30, 0x82, 0xff]).is_none());
        assert!(rsa_numbers(&[]).is_none());
    }
}
