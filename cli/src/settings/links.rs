//! How the files of single packages get into environments: `[package.NAME] link = "files"`, `NAME=files` elsewhere.

use std::collections::BTreeMap;

use pip_accel_schema::environment::PackageLink;
use pip_accel_schema::name::PackageName;

use super::{Origin, SettingsError};

/// The setting.
pub(super) const KEY: &str = "link";

/// Reads items `NAME=dirs|files|copy`; the last one of a project wins.
///
/// # Errors
/// When an item is something else.
pub(crate) fn package_links(
    items: &[String],
    origin: &Origin,
) -> Result<BTreeMap<PackageName, PackageLink>, SettingsError> {
    let refuse = |item: &String| SettingsError::Value {
        key: KEY.to_owned(),
        value: item.clone(),
        origin: origin.to_string(),
        expected: "NAME=dirs, NAME=files or NAME=copy",
    };
    items.iter().map(|item| parse(item).ok_or_else(|| refuse(item))).collect()
}

fn parse(item: &str) -> Option<(PackageName, PackageLink)> {
    let (name, word) = item.split_once('=')?;
    let link = PackageLink::ALL.into_iter().find(|link| link.as_str() == word.trim())?;
    Some((name.trim().parse().ok()?, link))
}

/// The items of the tables `[package.NAME]` of a configuration file.
///
/// # Errors
/// The key that does not exist, or the one with a wrong value and the reason.
pub(super) fn from_tables(packages: &toml::Table) -> Result<Vec<String>, (String, Option<String>)> {
    let mut items = Vec::new();
    for (name, table) in packages {
        let key = format!("package.{name}");
        let Some(table) = table.as_table() else {
            return Err((key, Some("a table is expected".to_owned())));
        };
        for (setting, value) in table {
            let key = format!("{key}.{setting}");
            if setting != KEY {
                return Err((key, None));
            }
            let item = format!("{name}={}", value.as_str().unwrap_or_default());
            if parse(&item).is_none() {
                return Err((key, Some("`dirs`, `files` or `copy` of a project is expected".to_owned())));
            }
            items.push(item);
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_a_package_wins_whatever_its_spelling() {
        let items = ["Zope.Interface=copy", "six=files", "zope-interface = files"].map(str::to_owned);
        let links = package_links(&items, &Origin::Default).expect("valid");
        let links: Vec<_> = links.iter().map(|(name, link)| (name.as_str(), *link)).collect();
        assert_eq!(links, [("six", PackageLink::Files), ("zope-interface", PackageLink::Files)]);
        for bad in ["six", "six=", "six=symlink", "=files", "a b=files"] {
            assert!(package_links(&[bad.to_owned()], &Origin::Default).is_err(), "{bad}");
        }
    }

    #[test]
    fn tables_of_packages_hold_known_settings_only() {
        let read = |text: &str| from_tables(&text.parse().expect("TOML"));
        assert_eq!(read("[six]\nlink = \"copy\"\n"), Ok(vec!["six=copy".to_owned()]));
        assert_eq!(read("[six]\nlnk = \"copy\"\n"), Err(("package.six.lnk".to_owned(), None)));
        assert!(matches!(read("[six]\nlink = \"hard\"\n"), Err((key, Some(_))) if key == "package.six.link"));
        assert!(matches!(read("six = 1\n"), Err((key, Some(_))) if key == "package.six"));
    }
}
