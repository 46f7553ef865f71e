//! The file: `pg_dump`'s archive in its custom format, then the manifest, and all of it inside `age`
//! where it is encrypted.
//!
//! ```text
//! archive | manifest, JSON | its length, 8 bytes, little endian | "UNIBODY1"
//! ```
//!
//! `pg_restore` looks at nothing behind the archive, so `pg_restore FILE`, or `age -d FILE | pg_restore`,
//! reads a backup without us. The manifest comes last because a dump is written as it is made. It
//! proves that the file is whole: what was cut off has none, and what was changed has another checksum.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use age::stream::{StreamReader, StreamWriter};
use age::{DecryptError, Decryptor};
use anyhow::{Context as _, anyhow, bail};
use ring::digest::{self, SHA256};

use super::keys::{Key, Protection, Sealer};
use super::manifest::Manifest;

/// How `pg_dump`'s custom format begins.
const CUSTOM_FORMAT: &[u8] = b"PGDMP";
/// How an encrypted file begins.
const AGE: &[u8] = b"age-encryption.org/v1";
/// The same as text, for e-mail.
const AGE_ARMORED: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
/// How a backup of ours ends.
const MARK: &[u8; 8] = b"UNIBODY1";
/// Length and mark.
const FOOTER: u64 = 16;
/// Largest manifest: a hundred thousand tables.
const LARGEST_MANIFEST: u64 = 32 * 1024 * 1024;
/// Bytes read at once.
const CHUNK: usize = 128 * 1024;

/// A backup being written.
pub(super) struct Writer {
    output: Output,
    digest: digest::Context,
    bytes: u64,
}

enum Output {
    Plain(BufWriter<File>),
    Sealed(Box<StreamWriter<BufWriter<File>>>),
}

/// A backup that can be read, as often as need be.
pub(super) struct Archive {
    source: Source,
    /// None in what `pg_dump` alone has made.
    pub(super) manifest: Option<Manifest>,
    /// Of `pg_dump`'s archive.
    pub(super) bytes: u64,
}

enum Source {
    Plain(BufReader<File>),
    Sealed(Box<StreamReader<BufReader<File>>>),
}

impl Writer {
    pub(super) fn new(file: File, sealer: Option<Sealer>) -> io::Result<Self> {
        let file = BufWriter::with_capacity(CHUNK, file);
        let output = match sealer {
            None => Output::Plain(file),
            Some(sealer) => Output::Sealed(Box::new(sealer.wrap_output(file)?)),
        };
        Ok(Self {
            output,
            digest: digest::Context::new(&SHA256),
            bytes: 0,
        })
    }

    /// Appends `manifest`, told of what was written, and puts all of it on the disk.
    pub(super) fn finish(mut self, mut manifest: Manifest) -> io::Result<(File, Manifest)> {
        manifest.archive_bytes = self.bytes;
        manifest.archive_sha256 = hexadecimal(self.digest.finish().as_ref());
        let json = serde_json::to_vec(&manifest)?;
        self.output.write_all(&json)?;
        self.output.write_all(&(json.len() as u64).to_le_bytes())?;
        self.output.write_all(MARK)?;
        let file = match self.output {
            Output::Plain(file) => file,
            Output::Sealed(sealed) => sealed.finish()?,
        };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok((file, manifest))
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Sealed(sealed) => sealed.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Sealed(sealed) => sealed.flush(),
        }
    }
}

/// What opens the backup at `path`.
///
/// # Errors
/// That it can't be read, or what it is, if it is no backup.
pub fn protection_of(path: &Path) -> anyhow::Result<Protection> {
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("{shown} can't be opened"))?;
    protection(&mut file).with_context(|| format!("{shown} can't be restored"))
}

/// What opens `file`, which is left at its beginning.
fn protection(file: &mut File) -> anyhow::Result<Protection> {
    let mut head = Vec::new();
    file.rewind()?;
    Read::by_ref(file).take(64).read_to_end(&mut head)?;
    file.rewind()?;
    if head.is_empty() {
        bail!("it is empty");
    }
    if head.starts_with(CUSTOM_FORMAT) {
        return Ok(Protection::None);
    }
    if head.starts_with(AGE_ARMORED) {
        bail!("it is an armored age file: decrypt it with age first, and restore what comes out");
    }
    if !head.starts_with(AGE) {
        bail!(
            "it is no backup: neither pg_dump's custom format nor encrypted by age (for an SQL script \
             use psql)"
        );
    }
    let decryptor = Decryptor::new_buffered(BufReader::new(&mut *file)).map_err(damaged)?;
    let scrypt = decryptor.is_scrypt();
    file.rewind()?;
    Ok(if scrypt {
        Protection::Passphrase
    } else {
        Protection::Identity
    })
}

impl Archive {
    /// Opens a backup and reads its manifest. Blocks, for about a second with a passphrase.
    ///
    /// # Errors
    /// Why it is no backup, or not a whole one, or not to be opened with `key`.
    pub(super) fn open(mut file: File, key: &Key) -> anyhow::Result<Self> {
        let protection = protection(&mut file)?;
        let file = BufReader::with_capacity(CHUNK, file);
        let mut source = match protection {
            Protection::None => Source::Plain(file),
            _ => Source::Sealed(Box::new(unseal(file, key)?)),
        };
        let length = source
            .seek(SeekFrom::End(0))
            .map_err(|error| anyhow!("it is cut off or damaged at its end ({error})"))?;
        let manifest = manifest(&mut source, length)?;
        let bytes = manifest
            .as_ref()
            .map_or(length, |manifest| manifest.archive_bytes);
        source.rewind()?;
        let mut head = [0; CUSTOM_FORMAT.len()];
        let inside = source.read_exact(&mut head);
        if inside.is_err() || head != CUSTOM_FORMAT {
            bail!("what is encrypted in it is no backup in pg_dump's custom format");
        }
        Ok(Self {
            source,
            manifest,
            bytes,
        })
    }

    /// Reads all of it and compares it with the manifest's checksum.
    ///
    /// # Errors
    /// That it is damaged.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        let mut digest = Digester(digest::Context::new(&SHA256));
        let read = self.copy_to(&mut digest);
        let read = read.map_err(|error| anyhow!("it is damaged ({error})"))?;
        let Some(manifest) = &self.manifest else {
            return Ok(());
        };
        let found = hexadecimal(digest.0.finish().as_ref());
        if read != manifest.archive_bytes || found != manifest.archive_sha256 {
            bail!("it is damaged: its contents are not those that were written");
        }
        Ok(())
    }

    /// Writes `pg_dump`'s archive to `output`.
    pub(super) fn copy_to(&mut self, output: &mut impl Write) -> io::Result<u64> {
        self.source.rewind()?;
        let mut left = self.bytes;
        let mut chunk = vec![0; CHUNK];
        while left > 0 {
            let want = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let read = match self.source.read(&mut chunk[..want]) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            output.write_all(&chunk[..read])?;
            left -= read as u64;
        }
        output.flush()?;
        Ok(self.bytes - left)
    }
}

impl Read for Source {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(bytes),
            Self::Sealed(sealed) => sealed.read(bytes),
        }
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Plain(file) => file.seek(to),
            Self::Sealed(sealed) => sealed.seek(to),
        }
    }
}

/// Hashes what is written to it.
struct Digester(digest::Context);

impl Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unseal(file: BufReader<File>, key: &Key) -> anyhow::Result<StreamReader<BufReader<File>>> {
    let decryptor = Decryptor::new_buffered(file).map_err(damaged)?;
    let by_passphrase = decryptor.is_scrypt();
    let opened = key.open(decryptor);
    opened.map_err(|error| match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed if by_passphrase => {
            anyhow!("the passphrase is wrong")
        }
        DecryptError::NoMatchingKeys if by_passphrase => {
            anyhow!("it is encrypted with a passphrase: give --passphrase-file FILE")
        }
        DecryptError::NoMatchingKeys => {
            anyhow!("it is encrypted for another key: give --identity FILE with the secret key")
        }
        DecryptError::ExcessiveWork { .. } => {
            anyhow!("its passphrase was made too costly for this machine: decrypt it with age")
        }
        error => damaged(error),
    })
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn damaged(error: DecryptError) -> anyhow::Error {
    anyhow!("its encryption is damaged ({error})")
}

/// `None` where there is none, because `pg_dump` alone made the file, or because the end is missing.
fn manifest(source: &mut Source, length: u64) -> anyhow::Result<Option<Manifest>> {
    if length < FOOTER {
        return Ok(None);
    }
    let mut footer = [0; 16];
    source.seek(SeekFrom::Start(length - FOOTER))?;
    source.read_exact(&mut footer).context("it is damaged")?;
    let (size, mark) = footer.split_at(8);
    if mark != MARK {
        return Ok(None);
    }
    // Eight bytes of sixteen.
    let size = u64::from_le_bytes(size.try_into().unwrap_or_default());
    let fits = size <= LARGEST_MANIFEST && size + FOOTER <= length;
    let mut json = vec![0; usize::try_from(size).unwrap_or_default() * usize::from(fits)];
    source.seek(SeekFrom::Start(length - FOOTER - size * u64::from(fits)))?;
    source.read_exact(&mut json).context("it is damaged")?;
    let manifest: Option<Manifest> = serde_json::from_slice(&json).ok();
    match manifest {
        Some(manifest) if manifest.archive_bytes + size + FOOTER == length => Ok(Some(manifest)),
        _ => bail!("it is damaged: its manifest can't be read"),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
