//! Opens the file of the spool so that only the user of the gateway can read it: webhooks hold personal data.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Opens the file `name` in `folder`, and creates both if they are missing. Wider permissions are narrowed,
/// whatever the umask of the process is.
///
/// # Errors
/// The folder belongs to another user, so its permissions cannot be narrowed.
pub(super) fn open(folder: &Path, name: &str) -> io::Result<File> {
    create_folder(folder)?;
    let path = folder.join(name);
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(&path)?;
    narrow(&path, FILE_MODE)?;
    Ok(file)
}

/// Creates `folder` if it is missing, and narrows its permissions.
///
/// # Errors
/// As for [`open`].
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    narrow(folder, FOLDER_MODE)
}

fn narrow(path: &Path, wanted: u32) -> io::Result<()> {
    let found = fs::metadata(path)?.permissions().mode() & 0o777;
    if found == wanted {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(wanted)).map_err(|error| {
        let path = path.display();
        let message = format!(
            "{path} has the permissions {found:o}, which cannot be narrowed to {wanted:o} ({error}): \
             SPOOL_DIR must be a folder that belongs to the gateway's own user"
        );
        io::Error::new(error.kind(), message)
    })
}
