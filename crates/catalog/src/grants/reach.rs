//! The condition that a study is among those that a viewer may see: one text for every statement.

use qianli_model::Scope;

/// What a statement asks, and what it already knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'s> {
    /// Placeholder of the Study Instance UID, where one study is asked for.
    pub study: Option<&'s str>,
    /// Only what this grant shows.
    pub grant: Option<i64>,
    /// Now (ms since 1970).
    pub now_ms: i64,
}

/// A condition on studies `s` of the scope's tenant, to be joined with AND; `None` when the scope
/// sees the whole tenant. `number` binds a number and gives its placeholder.
///
/// Studies and patients of grants are looked up first, by index, and the studies are those found: of
/// a million studies a stranger may see three. Rules select many studies each, so they are held
/// against each study that the other conditions leave.
pub(crate) fn condition(
    scope: &Scope,
    asked: Asked<'_>,
    mut number: impl FnMut(i64) -> String,
) -> Option<String> {
    let viewer = scope.viewer()?;
    let tenant = number(scope.tenant().0);
    let now = number(asked.now_ms);
    let mut recipients = Vec::new();
    for (column, key) in [
        ("to_tenant", viewer.tenant.map(|tenant| tenant.0)),
        ("to_person", viewer.person),
        ("link_id", viewer.link),
    ] {
        if let Some(key) = key.filter(|key| *key > 0) {
            recipients.push(format!("g.{column} = {}", number(key)));
        }
    }
    if recipients.is_empty() {
        return Some("1 = 0".into());
    }
    let project = number(viewer.project);
    let one = asked.grant.map(|id| format!(" AND g.id = {}", number(id))).unwrap_or_default();
    let live = format!(
        "g.tenant_id = {tenant} AND g.project_id = {project} AND g.revoked_ms = 0
        AND (g.expires_ms = 0 OR g.expires_ms > {now}) AND ({}){}{one}",
        recipients.join(" OR "),
        if viewer.to_download { " AND g.download" } else { "" },
    );
    let known = asked.study.map(|place| format!(" AND x.study_uid = {place}")).unwrap_or_default();
    let related = related("a", "x");
    let listed = format!(
        "s.id IN (
        SELECT x.id FROM grants g
            JOIN studies x ON x.tenant_id = g.tenant_id AND x.study_uid = g.study_uid
            WHERE {live} AND g.kind = 'study'{known}
        UNION ALL SELECT x.id FROM grants g
            JOIN patients p ON p.tenant_id = g.tenant_id AND p.patient_id = g.patient_id
                AND p.issuer = g.issuer AND p.study_uid = ''
            JOIN studies x ON x.patient_row = p.id
            WHERE {live} AND g.kind = 'patient'{known}
        UNION ALL SELECT x.id FROM grants g
            JOIN studies a ON a.tenant_id = g.tenant_id AND a.study_uid = g.study_uid
            JOIN studies x ON x.patient_row = a.patient_row AND x.study_date <= a.study_date
                AND x.study_date <> ''
            WHERE {live} AND g.kind = 'study'
                AND (g.priors = 'all' OR (g.priors = 'related' AND {related})){known})"
    );
    if !viewer.by_rule {
        return Some(listed);
    }
    let related = self::related("a", "s");
    Some(format!(
        "({listed} OR EXISTS (SELECT 1 FROM grants g
            JOIN studies a ON a.patient_row = s.patient_row
                AND (a.id = s.id OR (a.study_date >= s.study_date AND s.study_date <> ''
                    AND (g.priors = 'all' OR (g.priors = 'related' AND {related}))))
            WHERE {live} AND g.kind = 'rule' AND a.created_ms >= g.since_ms
                AND (g.priority = '' OR EXISTS (SELECT 1 FROM study_orders so
                    JOIN orders o ON o.id = so.order_id WHERE so.tenant_id = a.tenant_id
                        AND so.study_uid = a.study_uid AND o.priority = g.priority))
                AND EXISTS (SELECT 1 FROM series m WHERE m.study_id = a.id
                    AND (g.modality = '' OR m.modality_key = g.modality)
                    AND (g.body_part = '' OR m.body_part_key = g.body_part))))"
    ))
}

/// Whether two studies have series of the same modality or the same body part.
fn related(one: &str, other: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM series m JOIN series n ON n.study_id = {other}.id
            WHERE m.study_id = {one}.id AND (n.modality_key = m.modality_key
                OR (n.body_part_key = m.body_part_key AND m.body_part_key <> '')))"
    )
}
