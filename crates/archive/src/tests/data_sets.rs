//! Data sets as a C-STORE takes them: without file meta information, as stored or in another syntax.

use bytes::Bytes;
use futures_util::TryStreamExt;
use qianli_model::syntax::Encoding;
use qianli_model::{Permissions, Scope, TenantId, TransferSyntax, file_meta};

use super::{archive, as_data_set, image, scope, series, store};
use crate::{ArchiveError, ByteStream, ConvertError};

async fn read(stream: ByteStream) -> Vec<u8> {
    stream.try_collect::<Vec<Bytes>>().await.unwrap().concat()
}

#[tokio::test]
async fn a_data_set_leaves_without_its_file_meta_information() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path(), |_| {}).await;
    let bytes = image("1.5", 2, 30);
    store(&archive, as_data_set("1.5"), &bytes, 64).await.unwrap();
    let location = archive.locate(&scope(), &series()).await.unwrap().remove(0);

    let stored = TransferSyntax::EXPLICIT_LITTLE;
    let opened = archive.open_data_set(&scope(), &location, stored).await.unwrap();
    assert_eq!(opened.length, Some(bytes.len() as u64));
    assert_eq!(opened.instance, location.instance);
    assert_eq!(read(opened.content).await, bytes);

    for uid in ["1.2.840.10008.1.2", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.99"] {
        let syntax = TransferSyntax::from_uid(uid).unwrap();
        let opened = archive.open_data_set(&scope(), &location, syntax).await.unwrap();
        assert_eq!(opened.instance, location.instance, "nothing is lost in {uid}");
        let file = archive.open_as(&scope(), &location, syntax).await.unwrap();
        let file = read(file.content).await;
        let meta = file_meta::from_bytes(&file).unwrap();
        let rest = usize::try_from(meta.data_set_offset).unwrap();
        assert_eq!(read(opened.content).await, file[rest..], "{uid}");
    }
    // What loses something is another instance, and says so in the data set too.
    let lossy = TransferSyntax::from_uid("1.2.840.10008.1.2.4.50").unwrap();
    assert_eq!(lossy.encoding(), Encoding::ExplicitLittle);
    let opened = archive.open_data_set(&scope(), &location, lossy).await.unwrap();
    assert_ne!(opened.instance, location.instance);
    let (instance, content) = (opened.instance.to_string(), read(opened.content).await);
    assert!(content.windows(instance.len()).any(|window| window == instance.as_bytes()));
}

#[tokio::test]
async fn a_data_set_opens_for_whoever_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path(), |_| {}).await;
    store(&archive, as_data_set("1.5"), &image("1.5", 1, 1), 64).await.unwrap();
    let location = archive.locate(&scope(), &series()).await.unwrap().remove(0);
    let open = async |scope: &Scope| {
        let opened = archive.open_data_set(scope, &location, location.transfer_syntax).await;
        opened.map(|opened| opened.length)
    };
    let (tenant, principal) = (TenantId::DEFAULT, scope().principal().clone());
    let nothing = Scope::new(tenant, principal, Permissions::NONE);
    let refused = open(&nothing).await;
    assert!(
        matches!(refused, Err(ConvertError::Archive(ArchiveError::Forbidden(_)))),
        "{refused:?}"
    );
    let other = open(&Scope::local(TenantId(2))).await;
    assert!(matches!(other, Err(ConvertError::Archive(ArchiveError::Damaged(_)))), "{other:?}");
}
