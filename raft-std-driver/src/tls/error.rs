//! What can be wrong with certificates and with TLS, in plain words.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, ExtendedKeyPurpose};

/// As many of a certificate's names are printed.
const NAMES_PRINTED_MAX: usize = 8;

/// Why certificates could not be loaded, or why a connection was not made safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read {path}: {error}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// What was read is not what it should be.
    #[error("{origin} {why}")]
    Pem {
        /// The file, or which of the given bytes.
        origin: String,
        /// What is wrong with it.
        why: String,
    },
    /// Our key and our certificate are not a pair.
    #[error("the key in {key} is not the one of the certificate in {certificate}")]
    KeyMismatch {
        /// Where the certificate came from.
        certificate: String,
        /// Where the key came from.
        key: String,
    },
    /// No DNS name comes out of the pattern.
    #[error("the naming {pattern:?} {why}")]
    Naming {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The peers would refuse our certificate.
    #[error("our own certificate in {origin} {fault}")]
    Own {
        /// Where it came from.
        origin: String,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// We refuse the peer's certificate.
    #[error("the peer's certificate {0}")]
    Peer(CertificateFault),
    /// The peer must show a certificate and has none.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// The peer refuses us.
    #[error("the peer refuses us: {0}")]
    Refused(Refusal),
    /// What came is not TLS.
    #[error("the other end does not speak TLS ({0}): it may be set to plain TCP, or be something else")]
    NotTls(String),
    /// The connection ended before TLS was agreed.
    #[error("the other end closed the connection during the TLS handshake: it may be set to plain TCP; see its log")]
    Ended,
    /// TLS with something that is no Raft server.
    #[error("the other end speaks TLS, but for another protocol than Raft")]
    OtherProtocol,
    /// TLS 1.3 is needed, and an algorithm that both know.
    #[error("the other end offers no TLS that we take, 1.3 is needed: {0}")]
    Incompatible(String),
    /// Whatever else TLS found wrong.
    #[error("TLS failed: {0}")]
    Failed(String),
}

impl From<&rustls::Error> for TlsError {
    fn from(error: &rustls::Error) -> TlsError {
        match error {
            rustls::Error::InvalidCertificate(error) => TlsError::Peer(CertificateFault::from(error)),
            rustls::Error::NoCertificatesPresented => TlsError::NoCertificate,
            rustls::Error::AlertReceived(alert) => TlsError::Refused(Refusal::from(*alert)),
            rustls::Error::InvalidMessage(what) => TlsError::NotTls(format!("{what:?}")),
            rustls::Error::NoApplicationProtocol => TlsError::OtherProtocol,
            rustls::Error::PeerIncompatible(what) => TlsError::Incompatible(format!("{what:?}")),
            error => TlsError::Failed(error.to_string()),
        }
    }
}

/// What is wrong with a certificate. Its text continues a sentence that begins with whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// Its time, or that of one between it and its authority, is over by our clock.
    Expired {
        /// How long since.
        ago: Duration,
    },
    /// Its time, or that of one between it and its authority, has not come by our clock.
    NotYetValid {
        /// How long until then.
        ahead: Duration,
    },
    /// None of our authorities issued it.
    UnknownAuthority,
    /// A signature does not verify.
    Signature,
    /// It is another node's, or nobody's.
    Name {
        /// The name that it should have.
        expected: String,
        /// The names that it has.
        presented: Vec<String>,
    },
    /// It would do for every node.
    Wildcard {
        /// The name that it should have.
        expected: String,
    },
    /// Its extended key usage leaves out what it is used for.
    Purpose,
    /// It is an authority's, which is no node's.
    Authority,
    /// It is no certificate that we understand.
    Unreadable,
    /// Its authority has taken it back.
    Revoked,
    /// Whatever else.
    Other(String),
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateFault::Expired { ago } => write!(f, "expired {} ago", Rough(*ago)),
            CertificateFault::NotYetValid { ahead } => {
                write!(f, "is not valid yet: it will be in {}; do the clocks agree?", Rough(*ahead))
            }
            CertificateFault::UnknownAuthority => f.write_str("was issued by none of our authorities"),
            CertificateFault::Signature => {
                f.write_str("bears a wrong signature: perhaps of another authority with the same name as ours")
            }
            CertificateFault::Name { expected, presented } if presented.is_empty() => {
                write!(f, "has no subject alternative name; it should have the DNS name {expected:?}")
            }
            CertificateFault::Name { expected, presented } => {
                f.write_str("is for ")?;
                // Escaped: they may come from anywhere, and go to a log.
                for (nth, name) in presented.iter().take(NAMES_PRINTED_MAX).enumerate() {
                    write!(f, "{}{name:?}", if nth == 0 { "" } else { ", " })?;
                }
                match presented.len().saturating_sub(NAMES_PRINTED_MAX) {
                    0 => {}
                    more => write!(f, " and {more} more")?,
                }
                write!(f, ", not for {expected:?}")
            }
            CertificateFault::Wildcard { expected } => {
                write!(f, "is for every node, by a wildcard; it should name {expected:?}")
            }
            CertificateFault::Purpose => f.write_str(
                "is not for this use: its extended key usage must have both serverAuth and clientAuth, or be left out",
            ),
            CertificateFault::Authority => f.write_str("is an authority's, not a node's (basicConstraints=CA:TRUE)"),
            CertificateFault::Unreadable => f.write_str("cannot be understood: it must be X.509, version 3"),
            CertificateFault::Revoked => f.write_str("has been revoked"),
            CertificateFault::Other(why) => write!(f, "cannot be used: {why}"),
        }
    }
}

impl From<&CertificateError> for CertificateFault {
    fn from(error: &CertificateError) -> CertificateFault {
        match error {
            CertificateError::ExpiredContext { time, not_after } => {
                CertificateFault::Expired { ago: between(*not_after, *time) }
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                CertificateFault::NotYetValid { ahead: between(*time, *not_before) }
            }
            CertificateError::UnknownIssuer => CertificateFault::UnknownAuthority,
            CertificateError::BadSignature => CertificateFault::Signature,
            CertificateError::NotValidForNameContext { expected, presented } => CertificateFault::Name {
                expected: expected.to_str().into_owned(),
                presented: presented.iter().map(|name| bare(name)).collect(),
            },
            CertificateError::InvalidPurposeContext {
                required: ExtendedKeyPurpose::ClientAuth | ExtendedKeyPurpose::ServerAuth,
                ..
            } => CertificateFault::Purpose,
            CertificateError::BadEncoding => CertificateFault::Unreadable,
            CertificateError::Revoked => CertificateFault::Revoked,
            // rustls has no name for it.
            CertificateError::Other(error) if error.to_string() == "CaUsedAsEndEntity" => CertificateFault::Authority,
            error => CertificateFault::Other(error.to_string()),
        }
    }
}

fn between(earlier: UnixTime, later: UnixTime) -> Duration {
    Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
}

/// rustls hands out names as `DnsName("node-1")`.
fn bare(name: &str) -> String {
    name.strip_prefix("DnsName(\"").and_then(|rest| rest.strip_suffix("\")")).unwrap_or(name).to_string()
}

/// A duration as a person would say it.
struct Rough(Duration);

impl fmt::Display for Rough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        for (unit, name) in [(86_400, "days"), (3_600, "hours"), (60, "minutes")] {
            if seconds >= 2 * unit {
                return write!(f, "{} {name}", seconds / unit);
            }
        }
        write!(f, "{seconds} seconds")
    }
}

/// Why the peer refuses us, as far as its alert says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It does not know the authority of our certificate.
    UnknownAuthority,
    /// Our certificate is out of its time.
    Expired,
    /// Our certificate does not name the node that it looks for, or it cannot read it.
    BadCertificate,
    /// Our certificate is not for this use.
    Purpose,
    /// It got no certificate from us.
    NoCertificate,
    /// Our certificate has been revoked.
    Revoked,
    /// A signature of ours does not verify.
    Signature,
    /// It does not speak Raft.
    OtherProtocol,
    /// It does not speak TLS 1.3.
    Version,
    /// What we sent is not TLS to it.
    NotTls,
    /// Whatever else it says.
    Other(String),
}

impl From<AlertDescription> for Refusal {
    fn from(alert: AlertDescription) -> Refusal {
        match alert {
            AlertDescription::UnknownCA => Refusal::UnknownAuthority,
            AlertDescription::CertificateExpired => Refusal::Expired,
            AlertDescription::BadCertificate => Refusal::BadCertificate,
            AlertDescription::UnsupportedCertificate => Refusal::Purpose,
            AlertDescription::CertificateRequired => Refusal::NoCertificate,
            AlertDescription::CertificateRevoked => Refusal::Revoked,
            AlertDescription::DecryptError => Refusal::Signature,
            AlertDescription::NoApplicationProtocol => Refusal::OtherProtocol,
            AlertDescription::ProtocolVersion => Refusal::Version,
            AlertDescription::DecodeError | AlertDescription::UnexpectedMessage => Refusal::NotTls,
            alert => Refusal::Other(format!("{alert:?}")),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::UnknownAuthority => "it does not trust the authority of our certificate",
            Refusal::Expired => "by its clock our certificate has expired, or is not valid yet",
            Refusal::BadCertificate => {
                "our certificate does not name the node that it looks for there, or it cannot read it"
            }
            Refusal::Purpose => "our certificate's extended key usage does not allow what we use it for",
            Refusal::NoCertificate => "it got no certificate from us",
            Refusal::Revoked => "our certificate has been revoked",
            Refusal::Signature => {
                "a signature of ours does not verify: perhaps its authority has the same name as ours, and another key"
            }
            Refusal::OtherProtocol => "it speaks another protocol than Raft",
            Refusal::Version => "it does not take TLS 1.3",
            Refusal::NotTls => "it does not understand our TLS",
            Refusal::Other(alert) => alert,
        })
    }
}
