"""Finding concepts in a cloud of features: the manifold method and the linear ones that it is compared with."""
