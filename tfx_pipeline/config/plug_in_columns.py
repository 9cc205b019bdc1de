"""Which columns the plug-ins read, where the config leaves it to them."""

from __future__ import annotations

from tfx_pipeline.config.job import Config


def domain_columns(config: Config) -> list[str]:
    """What EPNet's gate reads beside the scenario: features of the scenario alone."""
    epnet = config.model.epnet
    if epnet is not None and epnet.domain is not None:
        return epnet.domain
    column = config.scenario.column
    statistics = [s for s in config.features.past_days if s.by == (column,)]
    found = [name for statistic in statistics for name in statistic.features]
    return [column, *found] if column in config.features.categorical else found


def prior_columns(config: Config) -> list[str]:
    """What PPNet's gates read: the user, the item and the author, as far as the config tells."""
    ppnet = config.model.ppnet
    if ppnet is not None and ppnet.prior is not None:
        return ppnet.prior
    columns = dict.fromkeys([config.data.user, *config.data.event_key])
    return [column for column in columns if column in config.features.categorical]


def lhuc_column(config: Config) -> str:
    """The user, for LHUC."""
    lhuc = config.model.lhuc
    return config.data.user if lhuc is None or lhuc.user is None else lhuc.user


def query_columns(config: Config) -> list[str]:
    """Who asks for the history."""
    sequence = config.model.behaviour_sequence
    return [config.data.user] if sequence is None or sequence.query is None else sequence.query
