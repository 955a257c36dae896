//! TLS servers with a certificate chain like that of AWS's endpoints.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::{
    HandshakeKind, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::ServerSessionMemoryCache,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::BenchError;

/// The roots that the functions are built with.
const AMAZON_ROOTS: &str = include_str!("../../../lambdas/src/amazon-roots.pem");

/// The certificates of the servers.
pub struct Certificates {
    /// The roots of a client that trusts the servers, as PEM: Amazon's five and the one of the servers.
    pub roots: String,
    server: ServerConfig,
}

/// The addresses of the servers: the TLS library of the functions keeps sessions by host name or address, without the port.
pub const ADDRESSES: [Ipv4Addr; 3] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];

impl Certificates {
    /// Makes the certificates.
    ///
    /// The chain is as AWS's endpoints send it: a leaf, the intermediate that has signed it, and the root with the signature of an
    /// older root, all with RSA keys of 2048 bits. The certificates of Amazon Trust Services are listed in
    /// <https://www.amazontrust.com/repository/>; "Amazon RSA 2048 M01" and so on sign the leaves
    /// (<https://aws.amazon.com/blogs/security/amazon-introduces-dynamic-intermediate-certificate-authorities/>).
    ///
    /// The servers speak TLS 1.3 and 1.2 and prefer the post-quantum key exchange X25519MLKEM768, as S3 does
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/pqtls-how-to.html>). The functions offer it, and X25519 as well.
    pub fn make() -> Result<Self, BenchError> {
        let older_root = authority("Bench Services Root")?;
        let root = authority("Bench Root CA 1")?;
        let intermediate = authority("Bench RSA 2048 M01")?;
        let mut leaf = CertificateParams::new(ADDRESSES.map(|address| address.to_string()))?;
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = rsa_key()?;
        let chain = vec![
            leaf.signed_by(&key, &intermediate.issuer())?.into(),
            intermediate.params.signed_by(&intermediate.key, &root.issuer())?.into(),
            root.params.signed_by(&root.key, &older_root.issuer())?.into(),
        ];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let roots = format!("{AMAZON_ROOTS}\n{}", root.params.self_signed(&root.key)?.pem());
        Ok(Self { roots, server })
    }
}

/// A certificate authority.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

fn authority(name: &str) -> Result<Authority, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CountryName, "US");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(Authority { params, key: rsa_key()? })
}

fn rsa_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
}

/// What a server has done.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Handshakes with a certificate.
    pub full_handshakes: AtomicUsize,
    /// Handshakes that resumed an earlier session.
    pub resumed_handshakes: AtomicUsize,
    /// Requests.
    pub requests: AtomicUsize,
}

impl Traffic {
    fn count(&self, handshake: Option<HandshakeKind>) {
        match handshake {
            Some(HandshakeKind::Resumed) => self.resumed_handshakes.fetch_add(1, Relaxed),
            _ => self.full_handshakes.fetch_add(1, Relaxed),
        };
    }
}

/// A listener for axum. The handshakes of several connections run at the same time.
pub struct Listener {
    address: SocketAddr,
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl Listener {
    /// Listens on a free port of the address, and counts the handshakes. Other servers cannot resume its sessions.
    pub async fn bind(address: Ipv4Addr, certificates: &Certificates, traffic: Arc<Traffic>) -> io::Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        let mut server = certificates.server.clone();
        server.session_storage = ServerSessionMemoryCache::new(256);
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (sender, connections) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (acceptor, traffic, sender) = (acceptor.clone(), traffic.clone(), sender.clone());
                tokio::spawn(async move {
                    stream.set_nodelay(true).ok();
                    // A client that was ended closes its connections.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    traffic.count(stream.get_ref().1.handshake_kind());
                    sender.send((stream, peer)).await.ok();
                });
            }
        });
        Ok(Self { address, connections })
    }

    /// The address.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

#[cfg(test)]
mod tests {
    use rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    };
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::TlsConnector;

    use super::*;

    #[tokio::test]
    async fn a_client_trusts_the_chain_and_resumes_only_at_the_same_address() {
        let certificates = Certificates::make().unwrap();
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(certificates.roots.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        assert_eq!(roots.len(), 6);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = TlsConnector::from(Arc::new(client.with_root_certificates(roots).with_no_client_auth()));
        let traffic = Arc::new(Traffic::default());
        for address in &ADDRESSES[..2] {
            let mut listener = Listener::bind(*address, &certificates, traffic.clone()).await.unwrap();
            for _ in 0..2 {
                let server = listener.address;
                let connect = async {
                    let stream = TcpStream::connect(server).await.unwrap();
                    let mut stream =
                        client.connect(ServerName::from(std::net::IpAddr::from(*address)), stream).await.unwrap();
                    // What resumes the session comes before the first byte.
                    stream.read_u8().await.unwrap();
                };
                let accept = async {
                    let (mut stream, _) = axum::serve::Listener::accept(&mut listener).await;
                    stream.write_all(b"x").await.unwrap();
                    stream.flush().await.unwrap();
                    stream
                };
                tokio::join!(connect, accept);
            }
        }
        assert_eq!((traffic.full_handshakes.load(Relaxed), traffic.resumed_handshakes.load(Relaxed)), (2, 2));
    }
}
