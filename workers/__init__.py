"""Workers: the queue's actors, the reconciler, and the engine that upscales."""
