"""The architectures in Keras 2 (``tf_keras``): channels last, scores without softmax.

Only a process that ``edgewright.pipeline.tensorflow_process`` started imports what lies here.
"""
