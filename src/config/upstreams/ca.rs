//! `upstream.ca_file`: what the certificates of its TLS servers must descend from.

use std::path::PathBuf;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::node::Node;
use crate::config::read::existing_file;

/// `upstream.ca_file`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaFile {
    /// Where it was read.
    pub path: PathBuf,
    /// At least one certificate that chains may end in.
    pub roots: Vec<CertificateDer<'static>>,
}

/// Reads the file that the key names.
pub(super) fn ca_file(node: &Node<'_>) -> Option<CaFile> {
    let path = existing_file(node)?;
    match std::fs::read(&path).map(|pem| roots(&pem)) {
        Ok(Ok(roots)) => return Some(CaFile { path, roots }),
        Ok(Err(what)) => node.wrong(&format!("{} {what}", path.display())),
        // That it can't be opened is noted already.
        Err(_) => {}
    }
    None
}

fn roots(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let roots = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let roots = roots.map_err(|error| format!("is no PEM file of certificates: {error}"))?;
    if roots.is_empty() {
        return Err("holds no certificate (no BEGIN CERTIFICATE)".to_owned());
    }
    let mut store = rustls::RootCertStore::empty();
    for root in &roots {
        let readable = x509_parser::parse_x509_certificate(root).is_ok();
        if !readable || store.add(root.clone()).is_err() {
            return Err("holds a certificate that can't be read".to_owned());
        }
    }
    Ok(roots)
}
