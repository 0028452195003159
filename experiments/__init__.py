import vnca_jax as vnca_jax  # before JAX, so that a variable that JAX does not take is a sentence
