//! `loki image build|list`.

use crate::engine::images;

use super::{
    args::{ImageBuild, Json},
    env::Environment,
    exit::{Exit, Fault, OrExit},
    setup, ui,
};

/// Builds images that are missing.
pub(super) async fn build(env: &Environment, build: &ImageBuild) -> Result<Exit, Fault> {
    if let Some(unknown) = build
        .names
        .iter()
        .find(|name| images::reference(name).is_err())
    {
        let known = [images::known(), images::layers()].concat().join(", ");
        return Err(Fault::new(
            Exit::Usage,
            format!("there is no image `{}`", ui::visible(unknown)),
        )
        .hint(format!(
            "there are: {known}; `python+claude` is an agent's program over an image"
        )));
    }
    let engine = setup::engine(env).await?;
    for name in &build.names {
        let digest = setup::image(env, engine.as_ref(), name).await?;
        ui::data(format!("{name} {digest}"));
    }
    Ok(Exit::Done)
}

/// Lists Loki's images on this engine.
pub(super) async fn list(env: &Environment, json: &Json) -> Result<Exit, Fault> {
    let engine = setup::engine(env).await?;
    let found = engine
        .images(images::LABEL)
        .await
        .or_exit(Exit::NoSandbox)?;
    if json.json {
        let rows: Vec<_> = found
            .iter()
            .map(|image| serde_json::json!({ "reference": image.reference, "digest": image.id }))
            .collect();
        ui::json(&serde_json::json!({ "schema": 1, "images": rows }))?;
    } else {
        ui::table(
            &["IMAGE", "DIGEST"],
            found
                .iter()
                .map(|image| vec![image.reference.clone(), image.id.clone()]),
        );
    }
    Ok(Exit::Done)
}
