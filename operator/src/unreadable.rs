//! Where a custom resource that can't be read has gone wrong.
//!
//! What a watch brings of it is an error without a place. The place is found by reading the object
//! once more, as it is; when that fails, the error alone has to do.

use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::ObjectKey;

/// The error with the path of the field that it is about, such as `spec.apply.deletes`.
pub(crate) async fn explain<K>(client: &Client, key: &ObjectKey, error: &str) -> String
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned,
{
    let kind = ApiResource::erase::<K>(&());
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), &key.namespace, &kind);
    let object = objects.get(&key.name).await.ok();
    let value = object.and_then(|object| serde_json::to_value(object).ok());
    let path = value.and_then(path::<K>);
    path.map_or_else(|| error.to_owned(), |path| format!("{path}: {error}"))
}

fn path<K: DeserializeOwned>(object: Value) -> Option<String> {
    let error = serde_path_to_error::deserialize::<_, K>(object).err()?;
    let path = error.path().to_string();
    // A dot alone stands for the object as a whole.
    (path != ".").then_some(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_crds::ReplicaSink;

    use super::*;

    fn sink(deletes: &str) -> Value {
        json!({
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "ReplicaSink",
            "metadata": {"name": "shop-pg"},
            "spec": {"sourceRef": {"name": "shop"}, "apply": {"deletes": deletes}},
        })
    }

    #[test]
    fn the_field_is_named() {
        let path = path::<ReplicaSink>(sink("Tomorrow"));
        assert_eq!(path.as_deref(), Some("spec.apply.deletes"));
    }

    #[test]
    fn what_can_be_read_has_no_such_field() {
        assert_eq!(path::<ReplicaSink>(sink("Soft")), None);
    }
}
