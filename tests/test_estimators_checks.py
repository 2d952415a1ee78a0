"""scikit-learn's own suite for estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tabnas import TabNASClassifier, TabNASRegressor

SMALL = {
    "choices": [[16, 32]],
    "limits": 5000,
    "max_epochs": 2,
    "retrain_epochs": 10,
    "n_seeds": 1,
    "lr": 0.02,
    "min_architectures": 0,
}
CANNOT_HOLD = {
    "check_sample_weight_equivalence_on_dense_data": "trained by minibatches: a repeated row is in several, one of "
    "weight 2 in one, and a split divides the repeated rows between training and validation"
}


@pytest.mark.slow
@parametrize_with_checks(
    [TabNASClassifier(**SMALL), TabNASRegressor(**SMALL)], expected_failed_checks=lambda estimator: CANNOT_HOLD
)
def test_check(estimator, check):
    check(estimator)
