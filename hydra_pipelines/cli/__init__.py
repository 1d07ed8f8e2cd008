"""The command line `hydra`: one file per family of commands, nothing imported before it is used."""


def main() -> None:
    from hydra_pipelines.cli.app import app

    app()
