//! What loads have to do with each other, with gates and with repositories.

use super::*;

#[test]
fn a_name_is_loaded_by_one_at_a_time() {
    within(|| {
        let manager = ModelManager::default();
        let (slow, held) = slow_to_load();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| manager.load_from("m", slow, &LoadOptions::default()));
            held.entered.recv_timeout(HANG).unwrap();
            let e = manager.load_from("m", adding(1.0), &LoadOptions::default()).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::AlreadyExists);
            held.go.send(()).unwrap();
            first.join().unwrap().unwrap();
        });
        assert_eq!(manager.predict_row("m", &[1.0]).unwrap().answer, Answer::Value(1.0));
        // A load that failed gives the name back.
        let bad = ModelSource::Bytes(b"no model".to_vec().into());
        assert!(manager.load_from("b", bad, &LoadOptions::default()).is_err());
        manager.load_from("b", adding(1.0), &LoadOptions::default()).unwrap();
    });
}

#[test]
fn an_unload_leaves_the_series_of_the_next_model_of_that_name() {
    within(|| {
        let manager = ModelManager::default();
        manager.load_from("m", adding(1.0), &LoadOptions::default()).unwrap();
        let (slow, held) = slow_to_load();
        let options = ReloadOptions::default();
        std::thread::scope(|scope| {
            // A reload is under way, so that the unload waits for it.
            let options = &options;
            let reload = scope.spawn(|| manager.reload_from("m", slow, options).map(drop));
            held.entered.recv_timeout(HANG).unwrap();
            let unload = scope.spawn(|| manager.unload("m"));
            while manager.model("m").is_ok() {
                std::thread::yield_now();
            }
            manager.load_from("m", adding(2.0), &LoadOptions::default()).unwrap();
            held.go.send(()).unwrap();
            reload.join().unwrap().unwrap();
            unload.join().unwrap().unwrap();
        });
        assert_eq!(manager.predict_row("m", &[1.0]).unwrap().answer, Answer::Value(3.0));
        has(&manager, r#"modelserve_requests_total{model="m",version="1",outcome="ok"} 1"#);
    });
}

#[test]
fn the_gate_of_the_configuration_holds_for_reloads_by_hand() {
    let folder = scratch("gate");
    std::fs::copy(iris(1), folder.join("a.onnx")).unwrap();
    std::fs::create_dir_all(folder.join("models/b/1")).unwrap();
    std::fs::copy(iris(1), folder.join("models/b/1/model.onnx")).unwrap();
    let toml = "[manager]\nmodel_repository = \"models\"\nsettle = \"0ms\"\nwatch = false\n\
                [models.a]\npath = \"a.onnx\"\n[models.a.gate]\nmax_drift = 0.0\n\
                [models.b.gate]\nmax_drift = 0.0\n";
    let file = folder.join("modelserve.toml");
    std::fs::write(&file, toml).unwrap();
    let manager = ModelManager::from_config(&file).unwrap();
    for name in ["a", "b"] {
        manager.call(name, &flower(), &mut Ctx::default()).unwrap();
        let e = manager.reload(name, Some(&iris(2)), &ReloadOptions::default()).unwrap_err();
        assert!(e.to_string().contains("rejected"), "{e}");
        assert!(!manager.gate_report(name).unwrap().unwrap().accepted);
        assert_eq!(manager.info(name).unwrap().version, 1);
        // A gate of the reload's own takes its place.
        let gate = Some(Gate::default());
        let options = ReloadOptions { gate, ..ReloadOptions::default() };
        manager.reload(name, Some(&iris(2)), &options).unwrap();
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[cfg(feature = "safetensors")]
#[test]
fn a_rollback_looks_at_the_files_beside_the_model_too() {
    let folder = scratch("companions");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/digits_mlp_safetensors");
    for name in ["model.safetensors", "config.json"] {
        std::fs::copy(data.join(name), folder.join(name)).unwrap();
    }
    let manager = ModelManager::default();
    manager.load("m", folder.join("model.safetensors"), &LoadOptions::default()).unwrap();
    let options = || ReloadOptions { allow_signature_change: true, ..ReloadOptions::default() };
    manager.reload("m", Some(&iris(1)), &options()).unwrap();
    assert_eq!(manager.rollback("m").unwrap().version, 1);
    manager.reload("m", Some(&iris(1)), &options()).unwrap();
    // The same model to whoever reads it, and another file.
    let config = folder.join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "\n").unwrap();
    let e = manager.rollback("m").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotReady, "{e}");
    std::fs::remove_dir_all(folder).unwrap();
}

fn quick() -> RepositoryRules {
    let mut rules = RepositoryRules::default();
    rules.files.settle = Duration::ZERO;
    rules
}

#[test]
fn a_folder_does_not_take_over_a_model_from_elsewhere() {
    let folder = scratch("elsewhere");
    std::fs::create_dir_all(folder.join("small/5")).unwrap();
    std::fs::copy(iris(2), folder.join("small/5/model.onnx")).unwrap();
    let manager = ModelManager::default();
    manager.load("small", iris(1), &LoadOptions::default()).unwrap();
    let mut rules = quick();
    rules.unload_missing = true;
    let report = manager.serve_repository(&folder, rules).unwrap();
    assert!(report.loaded.is_empty(), "{report:?}");
    let failed: Vec<_> = report.failed.iter().map(|(name, n, _)| (name.as_str(), *n)).collect();
    assert_eq!(failed.first(), Some(&("small", 5)));
    assert_eq!(manager.info("small").unwrap().version, 1);
    std::fs::remove_dir_all(folder.join("small")).unwrap();
    manager.refresh().unwrap();
    assert_eq!(manager.info("small").unwrap().version, 1);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn labels_of_a_repository_are_checked_before_anything_is_loaded() {
    let folder = scratch("labels");
    std::fs::create_dir_all(folder.join("m/1")).unwrap();
    std::fs::copy(iris(1), folder.join("m/1/model.onnx")).unwrap();
    let labelled = |label: &str| {
        let labels = [(label.to_string(), 1)].into();
        let model = RepositoryModel { labels, ..RepositoryModel::default() };
        RepositoryRules { models: [("m".to_string(), model)].into(), ..quick() }
    };
    let manager = ModelManager::default();
    let e = manager.serve_repository(&folder, labelled("no word")).unwrap_err();
    assert_eq!((e.kind(), e.model()), (ErrorKind::InvalidArgument, Some("m")));
    assert!(manager.models().is_empty());
    manager.serve_repository(&folder, labelled("stable")).unwrap();
    assert_eq!(manager.labels("m").unwrap().get("stable"), Some(&1));
    std::fs::remove_dir_all(folder).unwrap();
}
