"""TabNAS: resource-constrained neural architecture search for tabular data by rejection sampling.

The method is that of Yang et al., "TabNAS: Rejection Sampling for Neural Architecture Search on Tabular Datasets",
NeurIPS 2022, called "the paper" throughout.
"""
