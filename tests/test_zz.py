from tests.search.test_module import *
@every_kind
def test_p(new_search, tmp_path, kind, settings):
    search = trained(new_search(epochs=8, eta=0.05, kind=kind, **settings), tmp_path, epochs=8)
    print("PIN", kind.__name__,search.counts, search.leading(), [round(x,4) for x in search.controller.logits[0].tolist()], round(float(search.method.baseline.value),4))
