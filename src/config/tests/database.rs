//! Where a database is needed at all.

use super::*;

#[test]
fn what_needs_a_database_is_named() {
    let proxy = "[[upstream]]\nname = \"a\"\nservers = [\"127.0.0.1:1\"]\n\
                 [[route]]\npath = \"/\"\nupstream = \"a\"\n";
    let acme = "[acme]\nstorage = ";
    #[rustfmt::skip]
    let table = [
        (String::new(), Some("route /api/"), "the notes app"),
        ("[[route]]\npath = \"/\"\nfiles = \"public\"".into(), None, "files alone"),
        (proxy.into(), None, "and the health endpoints, which are there by themselves"),
        (format!("{proxy}[[route]]\npath = \"=/readyz\"\napp = true"), None, "or written"),
        (format!("{proxy}[[route]]\npath = \"/readyz/\"\napp = true"), None, "and all below one"),
        (format!("{proxy}[[route]]\npath = \"/readyz2\"\napp = true"), Some("route /readyz2/"), "not beside it"),
        (format!("{proxy}[[route]]\nhost = \"localhost\"\npath = \"=/app\"\napp = true"), Some("route localhost=/app"), "a route to the app"),
        (format!("{proxy}{acme}\"files\""), None, "certificates in files"),
        (format!("{proxy}{acme}\"database\""), Some("acme.storage = \"database\""), "certificates"),
        (format!("{proxy}[backup]\nat = \"03:15\"\ndirectory = \"b\""), Some("[backup]"), "backups"),
        (format!("{proxy}[database]\nbin_dir = \"public\"\npool_size = 3"), None, "settings are no wish"),
        (format!("{proxy}[database]\nurl = \"postgres://u@h/d\""), Some("database.url"), "a URL is"),
    ];
    for (text, needs, why) in table {
        let config = good(&text);
        assert_eq!(config.needs_database().as_deref(), needs, "{why}");
        let is_ours = needs.is_some_and(|what| what != "database.url");
        assert_eq!(config.embeds_database(), is_ours, "{why}");
    }
    let variable = Environment::from([("DATABASE_URL", "postgres://u@h/d")]);
    let config = parse(proxy, site().path(), &variable).unwrap();
    assert_eq!(config.needs_database().as_deref(), Some("database.url"));
}
