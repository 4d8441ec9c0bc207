//! The table of DICOMweb's routes: the router, the capabilities, the OpenAPI document and the page
//! about them are all made from it, so that none of them can say what is not so.

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter};

use super::{capabilities, conflicts, delete, qido, respond, stow, ups, wado};
use crate::WebState;
use crate::access::Needs;
use crate::error::HttpError;
use crate::gate::Gate;

/// What a request does to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Delete,
    Options,
}

impl Verb {
    /// The method's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    /// The method itself.
    fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Delete => Method::DELETE,
            Self::Options => Method::OPTIONS,
        }
    }

    /// What axum calls it. GET answers HEAD too.
    pub(crate) fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Delete => MethodFilter::DELETE,
            Self::Options => MethodFilter::OPTIONS,
        }
    }
}

/// One thing that can be asked of DICOMweb.
pub(crate) struct Route {
    pub(crate) verb: Verb,
    /// Relative to `/dicom-web`, with `{name}` for a segment and `{*name}` for the rest.
    pub(crate) path: &'static str,
    /// What it needs of its caller.
    pub(crate) needs: Needs,
    /// Section of PS3.18 that defines it; empty for what is ours.
    pub(crate) section: &'static str,
    /// What it does, in English and Chinese.
    pub(crate) says: [&'static str; 2],
    /// Names of its query parameters, where they are few.
    pub(crate) query: &'static [&'static str],
    /// Media types of bodies that it takes.
    pub(crate) takes: &'static [&'static str],
    /// Media types of answers, the default first; empty when the answer has no body.
    pub(crate) gives: &'static [&'static str],
    /// Statuses of success, where they are not 200 with a body and 204 without.
    pub(crate) answers: &'static [u16],
    /// The handler, for exactly this verb.
    pub(crate) handler: fn() -> MethodRouter<WebState>,
}

impl Route {
    /// Statuses under which the server does, or partly does, what it is asked for.
    pub(crate) fn statuses(&self) -> &'static [u16] {
        match (self.answers, self.gives) {
            ([], []) => &[204],
            ([], _) => &[200],
            (answers, _) => answers,
        }
    }

    /// The path as documents show it: a variable is `{name}`, whatever it spans.
    pub(crate) fn shown(&self) -> String {
        self.path.replace("{*", "{")
    }

    /// Names of the path's variables, in order.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &'static str> {
        self.path
            .split('{')
            .skip(1)
            .filter_map(|part| part.split('}').next().map(|name| name.trim_start_matches('*')))
    }
}

/// A row of the table: the verb is written once and decides what the handler answers to. What it
/// needs of its caller is `SignIn` or the name of a permission; without that it does not compile.
macro_rules! route {
    (@list) => { &[] };
    (@list $list:expr) => { $list };
    (@needs SignIn) => { $crate::access::Needs::SignIn };
    (@needs $permission:ident) => {
        $crate::access::Needs::Permission(qianli_model::Permission::$permission)
    };
    ($verb:ident $path:literal => $handler:expr, $needs:ident, $section:literal,
        [$english:literal, $chinese:literal]
        $(, query $query:expr)? $(, takes $takes:expr)? $(, gives $gives:expr)?
        $(, answers $answers:expr)? $(,)?) => {
        $crate::dicomweb::routes::Route {
            verb: $crate::dicomweb::routes::Verb::$verb,
            path: $path,
            needs: $crate::dicomweb::routes::route!(@needs $needs),
            section: $section,
            says: [$english, $chinese],
            query: $crate::dicomweb::routes::route!(@list $($query)?),
            takes: $crate::dicomweb::routes::route!(@list $($takes)?),
            gives: $crate::dicomweb::routes::route!(@list $($gives)?),
            answers: $crate::dicomweb::routes::route!(@list $($answers)?),
            handler: || axum::routing::on($crate::dicomweb::routes::Verb::$verb.filter(), $handler),
        }
    };
}
pub(crate) use route;

/// Parameters of a search; attributes to match stand beside them.
const SEARCH: &[&str] = &["limit", "offset", "includefield", "fuzzymatching", "count"];
/// Headers and rows of searches.
const METADATA: &[&str] =
    &[respond::DICOM_JSON, "application/json", "multipart/related; type=\"application/dicom+xml\""];
/// Bulk values of many kinds.
const BULK: &[&str] = &["multipart/related; type=\"application/octet-stream\""];
/// What WADO-URI gives.
const URI: &[&str] =
    &["application/dicom", "image/jpeg", "image/png", "text/html", "application/pdf"];
/// Whole objects.
const OBJECTS: &[&str] = &["multipart/related; type=\"application/dicom\"", "application/zip"];
/// One whole object.
const OBJECT: &[&str] =
    &["multipart/related; type=\"application/dicom\"", "application/dicom", "application/zip"];
/// Frames and bulk values.
const OCTETS: &[&str] =
    &["multipart/related; type=\"application/octet-stream\"", "application/octet-stream"];
/// Pictures.
const PICTURES: &[&str] = &["image/jpeg", "image/png"];
/// Pictures and what stands for them where there is none.
const RENDERED: &[&str] = &[
    "image/jpeg",
    "image/png",
    "image/gif",
    "multipart/related; type=\"image/jpeg\"",
    "application/pdf",
    "video/mp4",
    "text/html",
];
/// Frames as pictures.
const CINE: &[&str] =
    &["image/jpeg", "image/png", "image/gif", "multipart/related; type=\"image/jpeg\""];
/// Pictures of many instances.
const ALBUM: &[&str] = &["multipart/related; type=\"image/jpeg\"", "image/jpeg", "image/png"];
/// Parameters of a picture.
const RENDERING: &[&str] = &["viewport", "window", "quality", "iccprofile"];

/// Statuses of a search: 204 where nothing is found and parts were asked for.
const FOUND: &[u16] = &[200, 204];
/// Statuses of what can be had in part: a range of bytes, or those objects that can be given.
const PARTIAL: &[u16] = &[200, 206];

/// Every route, in groups with the English and Chinese name of each.
pub(crate) const GROUPS: &[(&str, &str, &[Route])] = &[
    ("Capabilities", "能力说明", capabilities::ROUTES),
    ("Search (QIDO-RS)", "检索（QIDO-RS）", SEARCHES),
    ("Retrieve (WADO-RS)", "获取（WADO-RS）", RETRIEVALS),
    ("Retrieve by query (WADO-URI)", "按查询参数获取（WADO-URI）", URI_SERVICE),
    ("Store (STOW-RS)", "存储（STOW-RS）", stow::ROUTES),
    ("Delete", "删除", delete::ROUTES),
    ("Patient conflicts", "患者冲突", conflicts::ROUTES),
    ("Worklist (UPS-RS)", "工作列表（UPS-RS）", ups::ROUTES),
];

const SEARCHES: &[Route] = &[
    route!(Get "/studies" => qido::studies, Read, "10.6",
        ["Search for studies", "检索检查"], query SEARCH, gives METADATA,
        answers FOUND),
    route!(Get "/series" => qido::series, Read, "10.6",
        ["Search for series of all studies", "检索全部序列"], query SEARCH, gives METADATA,
        answers FOUND),
    route!(Get "/instances" => qido::instances, Read, "10.6",
        ["Search for instances of all studies", "检索全部实例"], query SEARCH, gives METADATA,
        answers FOUND),
    route!(Get "/studies/{study}/series" => qido::series_of, Read, "10.6",
        ["Search for series of a study", "检索某检查的序列"], query SEARCH, gives METADATA,
        answers FOUND),
    route!(Get "/studies/{study}/instances" => qido::instances_of, Read, "10.6",
        ["Search for instances of a study", "检索某检查的实例"], query SEARCH, gives METADATA,
        answers FOUND),
    route!(Get "/studies/{study}/series/{series}/instances" => qido::instances_of, Read, "10.6",
        ["Search for instances of a series", "检索某序列的实例"], query SEARCH, gives METADATA,
        answers FOUND),
];

const RETRIEVALS: &[Route] = &[
    route!(Get "/studies/{study}" => wado::objects::retrieve, Read, "10.4",
        ["All objects of a study", "检查的全部对象"], gives OBJECTS, answers PARTIAL),
    route!(Get "/studies/{study}/metadata" => wado::metadata::metadata, Read, "10.4",
        ["Headers of a study", "检查的元数据"], gives METADATA),
    route!(Get "/studies/{study}/thumbnail" => wado::rendered::thumbnail, Read, "10.4",
        ["Thumbnail of a study", "检查的缩略图"], query RENDERING, gives PICTURES),
    route!(Get "/studies/{study}/rendered" => wado::rendered::level, Read, "10.4",
        ["Pictures of a study", "检查的图片"], query RENDERING, gives ALBUM),
    route!(Get "/studies/{study}/series/{series}" => wado::objects::retrieve, Read, "10.4",
        ["All objects of a series", "序列的全部对象"], gives OBJECTS, answers PARTIAL),
    route!(Get "/studies/{study}/series/{series}/metadata" => wado::metadata::metadata, Read, "10.4",
        ["Headers of a series", "序列的元数据"], gives METADATA),
    route!(Get "/studies/{study}/series/{series}/thumbnail" => wado::rendered::thumbnail, Read, "10.4",
        ["Thumbnail of a series", "序列的缩略图"], query RENDERING, gives PICTURES),
    route!(Get "/studies/{study}/series/{series}/rendered" => wado::rendered::level, Read, "10.4",
        ["Pictures of a series", "序列的图片"], query RENDERING, gives ALBUM),
    route!(Get "/studies/{study}/series/{series}/instances/{instance}" => wado::objects::retrieve,
        Read, "10.4", ["One object", "单个对象"], gives OBJECT),
    route!(Get "/studies/{study}/series/{series}/instances/{instance}/metadata"
        => wado::metadata::metadata, Read, "10.4",
        ["Header of an instance", "实例的元数据"], gives METADATA),
    route!(Get "/studies/{study}/series/{series}/instances/{instance}/thumbnail"
        => wado::rendered::thumbnail, Read, "10.4",
        ["Thumbnail of an instance", "实例的缩略图"], query RENDERING, gives PICTURES),
    route!(Get "/studies/{study}/series/{series}/instances/{instance}/rendered"
        => wado::rendered::instance, Read, "10.4",
        ["An instance as a picture or document", "以图片或文档形式获取实例"],
        query RENDERING, gives RENDERED, answers PARTIAL),
    route!(Get "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}"
        => wado::frames::frames, Read, "10.4",
        ["Frames, by a list of numbers from 1", "按从 1 开始的编号列表获取帧"], gives OCTETS),
    route!(Get "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/rendered"
        => wado::rendered::frames, Read, "10.4",
        ["Frames as pictures", "以图片形式获取帧"], query RENDERING, gives CINE),
    route!(Get "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/thumbnail"
        => wado::rendered::frame_thumbnail, Read, "10.4",
        ["Thumbnail of a frame", "帧的缩略图"], query RENDERING, gives PICTURES),
    route!(Get "/studies/{study}/series/{series}/instances/{instance}/bulkdata/{*tag}"
        => wado::bulk::bulk, Read, "10.4",
        ["A bulk value, by the URI in the metadata", "按元数据中的 URI 获取大块数据"],
        gives OCTETS, answers PARTIAL),
    route!(Get "/studies/{study}/bulkdata" => wado::bulk::all, Read, "10.4",
        ["All bulk values of a study", "检查的全部大块数据"], gives BULK, answers PARTIAL),
    route!(Get "/studies/{study}/series/{series}/bulkdata" => wado::bulk::all, Read, "10.4",
        ["All bulk values of a series", "序列的全部大块数据"], gives BULK, answers PARTIAL),
    route!(Get "/studies/{study}/series/{series}/instances/{instance}/bulkdata"
        => wado::bulk::all, Read, "10.4",
        ["All bulk values of an instance", "实例的全部大块数据"], gives BULK, answers PARTIAL),
    route!(Get "/studies/{study}/pixeldata" => wado::bulk::pixel_data, Read, "10.4",
        ["All pixel data of a study", "检查的全部像素数据"], gives BULK, answers PARTIAL),
    route!(Get "/studies/{study}/series/{series}/pixeldata" => wado::bulk::pixel_data, Read, "10.4",
        ["All pixel data of a series", "序列的全部像素数据"], gives BULK, answers PARTIAL),
    route!(Get "/studies/{study}/series/{series}/instances/{instance}/pixeldata"
        => wado::bulk::pixel_data, Read, "10.4",
        ["All pixel data of an instance", "实例的全部像素数据"], gives BULK, answers PARTIAL),
];

const URI_SERVICE: &[Route] = &[route!(Get "/wado" => wado::uri::retrieve, Read, "9",
    ["One object, or a picture of it", "单个对象或其图片"],
    query wado::uri::PARAMETERS, gives URI)];

/// Every route of the table.
pub(crate) fn all() -> impl Iterator<Item = &'static Route> {
    GROUPS.iter().flat_map(|(_, _, routes)| *routes)
}

/// The routes, relative to `/dicom-web`.
pub(crate) fn router(state: &WebState) -> Router<WebState> {
    all()
        .fold(Router::new(), |router, route| {
            let gate = Gate::dicomweb(state, &route.verb.method(), route.path, route.needs);
            router.route(route.path, (route.handler)().route_layer(gate))
        })
        .fallback(async || HttpError::not_found("there is no such DICOMweb resource"))
}
