import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
from tabnas import TabNASClassifier, TabNASRegressor

SMALL = dict(choices=[[8, 16, 32], [8, 16, 32]], limits=2000, max_epochs=3, retrain_epochs=20, n_seeds=1)

@parametrize_with_checks([TabNASClassifier(**SMALL), TabNASRegressor(**SMALL)])
def test_sk(estimator, check):
    check(estimator)
