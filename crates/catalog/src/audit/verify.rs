//! Proving the trail: every row of every chain is read and its hash computed again.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use super::chain::{CHAINS, NOTHING};
use super::entry::AuditRow;
use super::read::page_of_chain;
use crate::Catalog;
use crate::db::{Db, on_db};
use crate::error::CatalogError;

/// Rows read at a time.
const PAGE: u32 = 1000;

/// Hashes that left the system earlier, by chain and number.
pub type Exported = HashMap<(i64, i64), String>;

/// The state of one chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// The chain.
    pub chain: i64,
    /// Rows that were found good.
    pub rows: i64,
    /// Number and hash of the last row, as the head says; `None` when there is no head.
    pub head: Option<(i64, String)>,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
}

/// What is wrong, and with which row of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The row's content is not what its hash says.
    Altered(i64),
    /// The row is not here, but later ones are.
    Removed(i64),
    /// The row has another hash than the row or the head behind it says: it was replaced.
    Replaced(i64),
    /// The rows from this one to the one that the head names are not here.
    TailCut {
        /// The first that is missing.
        from: i64,
        /// The last that should be here.
        to: i64,
    },
    /// The row lies behind the head: the head was put back.
    BehindHead(i64),
    /// The chain has no head. Its last row, or 0.
    HeadMissing(i64),
    /// The row is not the one that was exported earlier.
    NotAsExported(i64),
    /// The row was exported earlier and is not here.
    ExportedRemoved(i64),
}

impl Fault {
    /// The row.
    pub fn number(&self) -> i64 {
        match self {
            Self::Altered(number)
            | Self::Removed(number)
            | Self::Replaced(number)
            | Self::TailCut { from: number, .. }
            | Self::BehindHead(number)
            | Self::HeadMissing(number)
            | Self::NotAsExported(number)
            | Self::ExportedRemoved(number) => *number,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered(number) => write!(f, "row {number} was altered"),
            Self::Removed(number) => write!(f, "row {number} was removed"),
            Self::Replaced(number) => {
                write!(f, "row {number} was replaced: what follows it names another hash")
            }
            Self::TailCut { from, to } => {
                write!(f, "the tail was cut: rows {from} to {to} were removed")
            }
            Self::BehindHead(number) => {
                write!(f, "row {number} lies behind the head: the head was altered")
            }
            Self::HeadMissing(last) => {
                write!(f, "the head is missing; the last row is {last}")
            }
            Self::NotAsExported(number) => {
                write!(f, "row {number} is not the one that was exported")
            }
            Self::ExportedRemoved(number) => {
                write!(f, "row {number} was exported and is not here any more")
            }
        }
    }
}

impl Catalog {
    /// Reads the whole trail, of every tenant, and says for each chain what the first thing is that
    /// is wrong. Rows that are added meanwhile do no harm. What was exported earlier is compared too.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn verify_audit(
        &self,
        exported: &Exported,
    ) -> Result<Vec<ChainReport>, CatalogError> {
        const TEXT: &str = "SELECT chain FROM audit_chains UNION SELECT chain FROM audit";
        let found: Vec<(i64,)> = on_db!(self.db(), pools => {
            sqlx::query_as(TEXT).fetch_all(&pools.read).await?
        });
        let mut chains: BTreeSet<i64> = (1..=CHAINS).collect();
        chains.extend(found.into_iter().map(|(chain,)| chain));
        chains.extend(exported.keys().map(|(chain, _)| *chain));
        let mut reports = Vec::with_capacity(chains.len());
        for chain in chains {
            reports.push(verify(self.db(), chain, exported).await?);
        }
        Ok(reports)
    }
}

async fn verify(db: &Db, chain: i64, exported: &Exported) -> Result<ChainReport, CatalogError> {
    const HEAD: &str = "SELECT number, hash FROM audit_chains WHERE chain = $1";
    const LAST: &str = "SELECT COALESCE(MAX(number), 0) FROM audit WHERE chain = $1";
    let head: Option<(i64, String)> = on_db!(db, pools => {
        sqlx::query_as(HEAD).bind(chain).fetch_optional(&pools.read).await?
    });
    let mut report = ChainReport { chain, rows: 0, head: head.clone(), fault: None };
    let Some((last, last_hash)) = head else {
        let (last,): (i64,) = on_db!(db, pools => {
            sqlx::query_as(LAST).bind(chain).fetch_one(&pools.read).await?
        });
        report.fault = Some(Fault::HeadMissing(last));
        return Ok(report);
    };
    let mut hash = NOTHING.to_owned();
    loop {
        let rows = page_of_chain(db, chain, report.rows, last, PAGE).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            if let Some(fault) = check(&row, report.rows + 1, &hash, exported) {
                report.fault = Some(fault);
                return Ok(report);
            }
            report.rows = row.number;
            hash = row.hash;
        }
    }
    report.fault = if report.rows < last {
        Some(Fault::TailCut { from: report.rows + 1, to: last })
    } else if hash != last_hash {
        Some(Fault::Replaced(last))
    } else {
        behind_head(db, chain).await?.or_else(|| {
            let gone = exported.keys().filter(|(of, number)| *of == chain && *number > last);
            gone.map(|(_, number)| Fault::ExportedRemoved(*number)).min_by_key(Fault::number)
        })
    };
    Ok(report)
}

/// What is wrong with a row that should have this number and follow a row with this hash.
fn check(row: &AuditRow, number: i64, previous: &str, exported: &Exported) -> Option<Fault> {
    if row.number != number {
        return Some(Fault::Removed(number));
    }
    let hash = AuditRow::hash_of(row.chain, row.number, &row.entry, &row.previous_hash);
    if hash != row.hash {
        return Some(Fault::Altered(number));
    }
    if row.previous_hash != previous {
        return Some(if number > 1 { Fault::Replaced(number - 1) } else { Fault::Altered(1) });
    }
    let before = exported.get(&(row.chain, number));
    before.is_some_and(|before| *before != row.hash).then_some(Fault::NotAsExported(number))
}

/// A row that no head covers. One statement: rows and head appear in one commit.
async fn behind_head(db: &Db, chain: i64) -> Result<Option<Fault>, CatalogError> {
    const TEXT: &str = "SELECT MIN(a.number) FROM audit a WHERE a.chain = $1
        AND a.number > (SELECT number FROM audit_chains WHERE chain = $1)";
    let (number,): (Option<i64>,) = on_db!(db, pools => {
        sqlx::query_as(TEXT).bind(chain).fetch_one(&pools.read).await?
    });
    Ok(number.map(Fault::BehindHead))
}
