from dataclasses import asdict, replace

import pytest
from pydantic import TypeAdapter

from models.configs.cut import CUT, FASTCUT
from models.configs.dclgan import DCLGAN
from models.configs.sincut import SINCUT
from pipeline.config import trial_key as identity
from pipeline.config.compose import TASKS, Setting, compose_config, compose_settings
from pipeline.config.schema import PATH_FIELDS, TEXT_FIELDS, Config, from_json, to_json
from pipeline.config.trial_key import leaves, trial_key
from pipeline.errors import UserError

PAPER = ("task=folder", "data.root=somewhere")
CROPS = ("task=single", "data.root=none", "model=sincut")


def test_defaults_are_the_papers_cut() -> None:
    config = compose_config(PAPER)
    assert config.model == CUT
    assert (config.train.constant_epochs, config.train.decay_epochs, config.train.learning_rate) == (200, 200, 2e-4)
    assert config.metric.extractor == "inception-v3-compat"


def test_schedule_follows_the_model() -> None:
    config = compose_config([*PAPER, "model=fastcut"])
    assert config.model == FASTCUT
    assert (config.train.constant_epochs, config.train.decay_epochs) == (150, 50)


def test_dclgan_has_the_released_codes_settings_and_cuts_optimiser() -> None:
    config, cut = compose_config([*PAPER, "model=dclgan"]), compose_config(PAPER)
    assert config.model == DCLGAN
    assert (DCLGAN.nce_weight, DCLGAN.pixel_identity_weight) == (2, 1)
    assert (DCLGAN.temperature, DCLGAN.num_patches, DCLGAN.negatives) == (0.07, 256, ("internal",))
    assert config.train == cut.train
    assert (config.train.constant_epochs, config.train.decay_epochs, config.train.batch_size) == (200, 200, 1)


def test_sincuts_schedule_and_optimiser_are_the_released_codes() -> None:
    config = compose_config(CROPS)
    assert config.model == SINCUT
    train = config.train
    assert (train.constant_epochs, train.decay_epochs, train.batch_size) == (8, 8, 16)
    assert (train.learning_rate, train.beta1, train.beta2) == (0.002, 0, 0.99)


@pytest.mark.parametrize("task", [task for task in TASKS if task not in ("folder", "photos", "single")])
@pytest.mark.parametrize("model", ["cut", "fastcut", "cyclegan", "dclgan"])
def test_every_task_composes_with_every_model(task: str, model: str) -> None:
    assert compose_config([f"task={task}", f"model={model}"]).data.name == task


def test_json_brings_back_the_same_configuration() -> None:
    config = compose_config(["model.negatives=[internal,external]"])
    assert from_json(to_json(config)) == config


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.temprature=0.1", "no field is called 'model.temprature'; did you mean model.temperature"),
        ("modl=cut", "did you mean model"),
        ("task=strips", "no task is called 'strips'; did you mean stripes?"),
        ("model=cutt", "no model is called 'cutt'; did you mean"),
        ("model.temperature=hot", "model.temperature is 'hot'. It must be a number"),
        ("model.temperature=-1", "temperature is -1"),
        ("model.temperature=nan", "temperature is nan"),
        ("model.temperature=0.1,0.2", "several values"),
        ("train.batch_size=1.5", "train.batch_size is 1.5. It must be a whole number"),
        ("model.negatives=[inside]", "negatives names inside; the sources are internal, external, minibatch"),
        ("model.negatives=internal", "model.negatives is 'internal'"),
        ("model.places=[pixels,res9]", "res9"),
        ("model.generator=4", "as in model.generator.antialias=…"),
        ("metric.extractor=inception", "metric.extractor is 'inception'"),
        ("model.negatives=[minibatch]", "batch_size > 1"),
        ("data.size=30", "multiples of 4"),
        ("+model.new=1", "adds or deletes"),
        ("~model.temperature", "adds or deletes"),
        ("task@data=stripes", "names a package"),
        ("temperature", "name=value"),
        ("task=folder", "data.root must be given"),
        ("task.temperature=0.1", "no field is called 'task.temperature'; did you mean model.temperature?"),
        ("temperature=0.1", "did you mean model.temperature?"),
        ("compute.cpus_per_trial=some", "compute.cpus_per_trial is 'some'. It must be a whole number or 'auto'"),
        ("compute.cpus_per_trial=0", "compute.cpus_per_trial is 0. It must be at least 1 or 'auto'"),
        ("compute.price_per_hour=0", "compute.price_per_hour is 0. It must be above 0"),
        ("train.batch_size=0", "train.batch_size is 0. It must be at least 1"),
        ("train.beta1=1.0", "train.beta1 is 1.0. It must be below 1"),
        ("train.beta2=-0.1", "train.beta2 is -0.1. It must be at least 0"),
        ("train.decay_epochs=-1", "train.decay_epochs is -1. It must be at least 0"),
        ("metric.kid_subset_size=1", "metric.kid_subset_size is 1. It must be at least 2"),
        ("data.size=[64,8]", "data.size.1 is 8. It must be at least 16"),
        ("data.size=large", "data.size: 'large' is no size"),
        ("data.name=a/b", "data.name: 'a/b' is no name"),
        ("data.train_count=1", "data.train_count is 1. It must be at least 2"),
        ("data.channels_a=2", "data.channels_a is 2. It must be 1 or 3"),
        ("compute.gpus_per_trial=1.5", "gpus_per_trial is 1.5. Above 1 it must be a whole number, such as 2"),
        ("compute.gpus_per_trial=2", "divides each batch among 2 processes, but train.batch_size is 1; set"),
        (
            "compute.gpus_per_trial=0.33334",
            "gpus_per_trial is 0.33334. At most four decimals are allowed. Write 0.3333",
        ),
        ("compute.gpus_per_trial=0.00001", "At most four decimals are allowed. Write 0.0001"),
        ("compute.mps=on", "compute.mps is 'on'. It must be 'off' or 'auto'"),
        ("compute.gpus_per_trial=0", "gpus_per_trial is 0"),
        ("data.name=../up", "data.name: '../up' is no name"),
        ("data.name=..", "data.name: '..' is no name"),
        ("data.name=null", "data.name is None. It must be a string"),
        (f"data.name={'x' * 101}", "longer than 100 bytes"),
        (f"data.name={'é' * 51}", "longer than 100 bytes"),
        ("data.name=a\x1b[31m", "contains '\\x1b'. Control characters"),
        (
            "paths.trials=s3://k:pass@b/t",
            "paths.trials: 's3://b/t': it holds a login. Give the login in the environment",
        ),
        ("paths.results=s3://", "paths.results: 's3://': it names no bucket"),
        ("paths.logs=s3://b/logs", "paths.logs: 's3://b/logs' is an address. Write a local path"),
        ("paths.cache=file:///tmp/x", "paths.cache: 'file:///tmp/x' is an address"),
        ("metric.weights=https://x/y", "metric.weights: 'https://x/y' is an address"),
        (f"seed={'9' * 5000}", "cannot read 'seed=9999"),
        (f"model.places={'[' * 2000}{']' * 2000}", "cannot read 'model.places=[[["),
        (f"model.places=[{'res1,' * 3000}res1]", "At most 10000 are allowed"),
        ("model.temperature=${seed}", "model.temperature is '${seed}'. Interpolations are not allowed"),
    ],
)
def test_faulty_overrides_are_refused_in_one_line(override: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        compose_config([override], "here")
    assert str(caught.value).startswith("here: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


EVERY_FIELD = [
    (options, name)
    for options in ((), PAPER, ("model=cyclegan",), CROPS, ("model=dclgan",))
    for name, _ in leaves(asdict(compose_config(options)))
    if name not in TEXT_FIELDS
]


@pytest.mark.parametrize(("options", "name"), EVERY_FIELD)
def test_every_number_has_an_upper_bound(options: tuple[str, ...], name: str) -> None:
    """Fields that are no numbers refuse one, too."""
    with pytest.raises(UserError, match=name.rpartition(".")[2]):
        compose_config([*options, f"{name}={10**25}"])


def test_the_lists_of_text_fields_and_paths_are_complete() -> None:
    schema = TypeAdapter(Config).json_schema()
    found: set[str] = set()
    models = ("CUTConfig", "CycleGANConfig", "SinCUTConfig", "DCLGANConfig")
    parts = {"data": ("StripesConfig", "FolderConfig"), "model": models}
    for part in schema["properties"]:
        for definition in parts.get(part, (f"{part.capitalize()}Config",)):
            for name, field in schema["$defs"].get(definition, {}).get("properties", {}).items():
                kinds = [field, *field.get("anyOf", [])]
                text = any(kind.get("type") == "string" and not {"enum", "const"} & set(kind) for kind in kinds)
                code = any(kind.get("$ref") == "#/$defs/OwnCode" for kind in kinds)  # given as the path of its file
                if text or code:
                    found.add(f"{part}.{name}")
    assert found == set(TEXT_FIELDS)
    no_paths = {"data.name", "tracking.uri", "model.extra_loss", "compute.cluster", "compute.gpu"}
    assert set(PATH_FIELDS) == found - no_paths


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("/d/set (v2)", "/d/set (v2)"),
        ("/d/été", "/d/été"),
        ("/d/a,b", "/d/a,b"),
        ("/d/{a}[b]=c", "/d/{a}[b]=c"),
        ("2024", "2024"),
        ("true", "true"),
        ("it's", "it's"),
        ("choice(a,b)", "choice(a,b)"),
        # As Hydra reads them.
        ("'/d/a,b'", "/d/a,b"),
        ('"/d/x y"', "/d/x y"),
        (r"/d/a\,b", "/d/a,b"),
        ("/d/plain", "/d/plain"),
    ],
)
def test_a_field_of_text_takes_text_that_hydra_cannot_read(written: str, value: str) -> None:
    assert compose_config(["task=folder", f"data.root={written}"]).data.root == value


@pytest.mark.parametrize("name", ["été", "2024", "1e5", "true", "a b"])
def test_a_name_need_not_be_ascii_nor_letters(name: str) -> None:
    assert compose_config([f"data.name={name}"]).data.name == name


def test_null_stands_for_no_file() -> None:
    assert compose_config(["metric.weights=null"]).metric.weights is None


def test_the_home_folder_is_written_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert compose_config(["task=folder", "data.root=~/d"]).data.root == "/home/me/d"
    assert compose_config(["paths.trials=~/t"]).paths.trials == "/home/me/t"
    assert compose_settings([Setting("paths.cache", "~/c", "here")]).paths.cache == "/home/me/c"
    assert compose_config(["paths.trials=~tmp"]).paths.trials == "~tmp"


def test_a_field_under_another_name_is_recognised() -> None:
    with pytest.raises(UserError, match=r"no field is called 'task\.root'; did you mean data\.root\?"):
        compose_config(["task=folder", "task.root=somewhere"])


def base() -> Config:
    return compose_config([])


SAME_TRIAL = [
    "compute.device=cpu",
    "compute.cpus_per_trial=2",
    "tracking.uri=sqlite:///elsewhere.db",
    "paths.trials=elsewhere",
    "metric.batch_size=3",
    "train.log_every_steps=7",
    "data.name=another",
    "compute.gpus_per_trial=0.5",
    "compute.gpus_per_trial=0.3333",
    "compute.gpus_per_trial=0.1429",
    "compute.most_per_gpu=2",
    "compute.mps=auto",
    "paths.logs=elsewhere",
    "train.checkpoint_every_epochs=2",
    "train.channels_last=false",
    "train.recompute=true",
    "train.compile=true",
    "train.precision=float32",
    "metric.to_8_bits=round",
]
ANOTHER_TRIAL = [
    "seed=1",
    "model.temperature=0.1",
    "model.places=[pixels]",
    "model.external.momentum=0.9",
    "train.learning_rate=0.001",
    "train.precision=bf16",
    "train.batch_size=2",
    "metric.every_epochs=2",
    "metric.to_8_bits=truncate",
    "data.drawing_seed=1",
    "model=fastcut",
]


@pytest.mark.parametrize("override", SAME_TRIAL)
def test_what_cannot_change_the_result_leaves_the_key(override: str) -> None:
    assert trial_key(compose_config([override]), "content", "weights") == trial_key(base(), "content", "weights")


@pytest.mark.parametrize("override", ANOTHER_TRIAL)
def test_what_changes_the_result_changes_the_key(override: str) -> None:
    assert trial_key(compose_config([override]), "content", "weights") != trial_key(base(), "content", "weights")


def test_content_of_the_data_changes_the_key() -> None:
    assert trial_key(base(), "content", "weights") != trial_key(base(), "other content", "weights")


def test_weights_of_the_metric_change_the_key() -> None:
    assert trial_key(base(), "content", "weights") != trial_key(base(), "content", "other weights")


def test_result_version_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = trial_key(base(), "content", "weights")
    monkeypatch.setattr(identity, "RESULT_VERSION", identity.RESULT_VERSION + 1)
    assert trial_key(base(), "content", "weights") != before


def test_every_entry_of_the_list_of_exceptions_names_fields() -> None:
    names = {name for config in (base(), compose_config(PAPER)) for name, _ in leaves(asdict(config))}
    for entry in identity.NOT_IN_KEY:
        assert any(name == entry or name.startswith(f"{entry}.") for name in names), entry


@pytest.mark.parametrize("value", ["internal", "a b", "it's", 'quo"te', "back\\slash", "choice(1,2)", "1", ""])
def test_text_of_a_sweep_file_is_taken_literally(value: str) -> None:
    assert compose_settings([Setting("metric.weights", value, "here")]).metric.weights == value


@pytest.mark.parametrize("value", ["${seed}", "${oc.env:HOME}", float("nan"), float("inf"), ["${seed}"]])
def test_values_that_are_interpolated_or_not_finite_are_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"here: model\.temperature is"):
        compose_settings([Setting("model.temperature", value, "here")])


def test_key_does_not_depend_on_the_order_of_overrides() -> None:
    one, two = ["model.temperature=0.1", "seed=2"], ["seed=2", "model.temperature=0.1"]
    assert trial_key(compose_config(one), "c", "w") == trial_key(compose_config(two), "c", "w")
    assert compose_config(one) == replace(compose_config(["model.temperature=0.1"]), seed=2)
