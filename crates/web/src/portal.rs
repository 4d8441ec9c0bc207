//! The pages: what is here, studies, one study, and the way into the viewer. Rendered on the
//! server, in Chinese and English, with one small script; nothing is loaded from elsewhere.
//!
//! Not here: DICOMweb, which the pages' pictures and the viewer use, and any rule about what may be
//! seen (see [`crate::caller`]).

mod account;
mod api;
mod assets;
mod audit;
mod documents;
mod factor;
mod format;
mod grants;
mod home;
mod invitations;
mod language;
mod link;
mod login;
mod oidc;
mod orders;
mod orders_api;
mod page;
mod peers;
mod peers_api;
mod people;
mod pseudonyms;
mod qr;
mod reading;
mod reading_text;
mod routes;
mod routes_api;
mod routes_text;
mod routes_web;
mod share;
mod share_api;
mod shared;
mod studies;
mod study;
mod text;
mod tokens;
mod viewer;
mod viewer_tag;

pub(crate) use audit::Check;
pub(crate) use reading::live::Live;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{MethodRouter, delete, get, patch, post};
use qianli_model::Permission;

use self::peers::{destinations, destinations_api};
use crate::WebState;
use crate::access::Needs;
use crate::gate::Gate;

/// Whether a request would rather read Chinese than English, for pages that are not ours to frame.
pub(crate) fn prefers_chinese(query: &str, headers: &HeaderMap) -> bool {
    language::Language::choose(query, headers) == language::Language::Chinese
}

/// One component group of a person name as people write it, on every page alike.
pub(crate) fn spoken_name(group: &str) -> String {
    format::spoken(group)
}

/// A page, and what it needs of its caller.
pub(crate) struct Page {
    /// The path, as the router takes it.
    pub(crate) path: &'static str,
    /// What it needs.
    pub(crate) needs: Needs,
    handler: fn() -> MethodRouter<WebState>,
}

/// A row of the table of pages.
macro_rules! page {
    ($path:literal, $needs:expr, $handler:expr) => {
        Page { path: $path, needs: $needs, handler: || $handler }
    };
}

const READ: Needs = Needs::Permission(Permission::Read);
const SHARE: Needs = Needs::Permission(Permission::Share);
const ORDER: Needs = Needs::Permission(Permission::Order);
const WORKLIST: Needs = Needs::Permission(Permission::Worklist);
const DISPATCH: Needs = Needs::Permission(Permission::Dispatch);
const AUDIT: Needs = Needs::Permission(Permission::Audit);
const ADMINISTER: Needs = Needs::Permission(Permission::Administer);

/// Every page. The viewer's own pages and files hold no data, and neither do our files: what it may
/// show, it asks for by DICOMweb.
pub(crate) const PAGES: &[Page] = &[
    page!("/", READ, get(home::show)),
    page!("/api", Needs::SignIn, get(api::show)),
    page!("/api/audit", AUDIT, get(audit::list)),
    page!("/api/links", SHARE, get(share_api::links).post(share_api::add_link)),
    page!("/api/links/{id}", SHARE, delete(share_api::revoke_link)),
    page!("/api/grants", SHARE, get(share_api::grants).post(share_api::add_grant)),
    page!("/api/grants/{id}", SHARE, delete(share_api::revoke_grant)),
    page!("/api/orders", ORDER, get(orders_api::list).post(orders_api::add)),
    page!("/api/orders/mismatches", ORDER, get(orders_api::mismatches)),
    page!("/api/orders/mismatches/{id}", ORDER, post(orders_api::decide)),
    page!("/api/orders/refused", ORDER, get(orders_api::refused)),
    page!(
        "/api/orders/{id}",
        ORDER,
        get(orders_api::show).put(orders_api::change).delete(orders_api::cancel)
    ),
    page!("/api/orders/{id}/state", ORDER, post(orders_api::set_state)),
    page!("/api/reading", WORKLIST, get(reading::api::list)),
    page!("/api/reading/requests", SHARE, post(reading::api::add)),
    page!("/api/reading/events", WORKLIST, get(reading::live::open)),
    page!("/api/reading/workload", WORKLIST, get(reading::api::workload)),
    page!("/api/reading/rules", DISPATCH, get(reading::api::rules).post(reading::api::add_rule)),
    page!("/api/reading/rules/{id}", DISPATCH, delete(reading::api::remove_rule)),
    page!("/api/reading/{id}", WORKLIST, get(reading::api::show).post(reading::api::change)),
    page!("/reading", WORKLIST, get(reading::show)),
    page!("/reading/rows", WORKLIST, get(reading::show_rows)),
    page!("/reading/live", WORKLIST, get(reading::live::open)),
    page!("/reading/views", WORKLIST, post(reading::views)),
    page!("/reading/tasks/{id}", WORKLIST, get(reading::task::show).post(reading::task::change)),
    page!("/reading/rules", DISPATCH, get(reading::rules::show).post(reading::rules::add)),
    page!("/reading/rules/disabled", DISPATCH, post(reading::rules::disable)),
    page!("/reading/rules/remove", DISPATCH, post(reading::rules::remove)),
    page!(
        "/studies/{study}/reading",
        SHARE,
        get(reading::task::ask).post(reading::task::requested)
    ),
    page!("/orders", ORDER, get(orders::show).post(orders::add)),
    page!("/orders/state", ORDER, post(orders::set_state)),
    page!("/orders/mismatches", ORDER, post(orders::decide)),
    page!("/api/peers", ADMINISTER, get(peers_api::list).post(peers_api::add)),
    page!("/api/peers/incidents", ADMINISTER, get(peers_api::incidents)),
    page!(
        "/api/peers/destinations",
        ADMINISTER,
        get(destinations_api::list).post(destinations_api::add)
    ),
    page!(
        "/api/peers/destinations/{title}",
        ADMINISTER,
        get(destinations_api::show)
            .patch(destinations_api::change)
            .delete(destinations_api::remove)
    ),
    page!("/api/peers/destinations/{title}/echo", ADMINISTER, post(destinations_api::echo)),
    page!("/api/peers/{id}", ADMINISTER, patch(peers_api::change).delete(peers_api::remove)),
    page!("/audit", AUDIT, get(audit::show)),
    page!("/audit/export", AUDIT, get(audit::export)),
    page!("/audit/verify", AUDIT, post(audit::verify)),
    page!("/studies", READ, get(studies::show)),
    page!("/studies/", READ, get(studies::show)),
    page!("/studies/{study}", READ, get(study::show)),
    page!("/studies/{study}/share", SHARE, get(share::show).post(share::add)),
    page!("/studies/{study}/links", SHARE, post(share::add_link)),
    page!("/grants", SHARE, get(grants::show).post(grants::add)),
    page!("/grants/revoke", SHARE, post(grants::revoke)),
    page!("/grants/links/revoke", SHARE, post(grants::revoke_link)),
    page!("/grants/review", ADMINISTER, post(grants::review)),
    page!("/grants/emergency", ADMINISTER, post(grants::allow_emergency)),
    page!("/shared", Needs::SignIn, get(shared::show)),
    page!("/shared/pass-on", SHARE, post(shared::pass_on)),
    page!("/shared/take-back", SHARE, post(shared::take_back)),
    page!("/emergency", READ, get(shared::emergency).post(shared::break_glass)),
    page!("/l/{token}", Needs::Nothing, get(link::ask).post(link::open)),
    page!("/links/{link}", Needs::Visit, get(link::show)),
    page!("/links/{link}/pseudonyms/{project}/{uid}", Needs::Visit, get(pseudonyms::of_link)),
    page!("/shared/{tenant}/{project}/{uid}", Needs::SignIn, get(pseudonyms::of_tenant)),
    page!("/login", Needs::Nothing, get(login::show).post(login::log_in)),
    page!("/login/oidc/{provider}", Needs::Nothing, get(oidc::begin)),
    page!("/login/oidc/{provider}/callback", Needs::Nothing, get(oidc::callback)),
    page!("/login/code", Needs::Nothing, get(factor::ask).post(factor::enter)),
    page!("/invitation", Needs::Nothing, get(invitations::open).post(invitations::accept)),
    page!("/logout", Needs::Nothing, post(login::log_out)),
    page!("/account", Needs::SignIn, get(account::show)),
    page!("/account/password", Needs::SignIn, post(account::change_password)),
    page!("/account/factor", Needs::SignIn, post(factor::begin)),
    page!("/account/factor/confirm", Needs::SignIn, post(factor::confirm)),
    page!("/account/factor/remove", Needs::SignIn, post(factor::remove)),
    page!("/account/sessions", Needs::SignIn, post(account::end_session)),
    page!("/people", ADMINISTER, get(people::show).post(people::add)),
    page!("/people/roles", ADMINISTER, post(people::set_roles)),
    page!("/people/password", ADMINISTER, post(people::reset)),
    page!("/people/factor", ADMINISTER, post(people::reset_factor)),
    page!("/people/factors", ADMINISTER, post(people::require_factors)),
    page!("/people/invite", ADMINISTER, post(invitations::invite)),
    page!("/people/invite/revoke", ADMINISTER, post(invitations::revoke)),
    page!("/people/disabled", ADMINISTER, post(people::disable)),
    page!("/tokens", ADMINISTER, get(tokens::show).post(tokens::add)),
    page!("/tokens/revoke", ADMINISTER, post(tokens::revoke)),
    page!("/peers", ADMINISTER, get(peers::show).post(peers::add)),
    page!("/peers/disabled", ADMINISTER, post(peers::disable)),
    page!("/peers/remove", ADMINISTER, post(peers::remove)),
    page!("/peers/of/{name}", ADMINISTER, get(peers::show_one)),
    page!("/peers/destinations", ADMINISTER, post(destinations::add)),
    page!("/peers/destinations/echo", ADMINISTER, post(destinations::echo)),
    page!("/peers/destinations/remove", ADMINISTER, post(destinations::remove)),
    page!(
        "/peers/destinations/{title}",
        ADMINISTER,
        get(destinations::show).post(destinations::change)
    ),
    page!("/peers/row/{id}", ADMINISTER, get(peers::edit::show).post(peers::edit::change)),
    page!("/routes", ADMINISTER, get(routes::show).post(routes::add)),
    page!("/routes/disabled", ADMINISTER, post(routes::disable)),
    page!("/routes/remove", ADMINISTER, post(routes::remove)),
    page!("/routes/replay", ADMINISTER, post(routes::replay)),
    page!("/routes/web", ADMINISTER, post(routes_web::set)),
    page!("/routes/web/remove", ADMINISTER, post(routes_web::remove)),
    page!("/api/routes", ADMINISTER, get(routes_api::rules).post(routes_api::add_rule)),
    page!("/api/routes/{id}", ADMINISTER, delete(routes_api::remove_rule)),
    page!("/api/routes/web", ADMINISTER, get(routes_api::goals).post(routes_api::set_goal)),
    page!("/api/routes/web/{name}", ADMINISTER, delete(routes_api::remove_goal)),
    page!("/api/routes/deliveries", ADMINISTER, get(routes_api::deliveries)),
    page!("/api/routes/deliveries/{id}/replay", ADMINISTER, post(routes_api::replay)),
    page!("/static/{hash}/{name}", Needs::Nothing, get(assets::serve)),
    page!("/favicon.ico", Needs::Nothing, get(assets::icon)),
    page!("/app-config.js", Needs::Nothing, get(viewer::config)),
    page!("/viewer", Needs::SignIn, get(viewer::open)),
    page!("/viewer/", Needs::SignIn, get(viewer::open)),
    page!("/viewer/{*rest}", Needs::SignIn, get(viewer::open)),
    page!("/ohif", Needs::SignIn, get(viewer::open)),
    page!("/ohif/", Needs::SignIn, get(viewer::open)),
    page!("/ohif/{*rest}", Needs::SignIn, get(viewer::open)),
];

/// Routes of the pages, of the viewer, and the fallback for every other path.
pub(crate) fn router(state: &WebState) -> Router<WebState> {
    PAGES
        .iter()
        .fold(Router::new(), |router, page| {
            let gate = Gate::page(state, page.path, page.needs);
            router.route(page.path, (page.handler)().route_layer(gate))
        })
        .fallback(viewer::file)
}
