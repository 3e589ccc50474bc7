"""pythae's VAE in a field: all that it takes. Chapter 8 shows this class, `pythae_field.py` measures what it gains."""

from pythae.models import VAE

from vaept import perturbed_kl, switched_off


class VAEInField(VAE):
    """A VAE in a field: its values u stand where labels of examples do."""

    def forward(self, inputs, epoch=1, **others):
        self.u, progress = inputs["labels"], (epoch - 0.5) / self.epochs
        self.weight, self.strength = switched_off(progress, **self.schedule)
        return super().forward(inputs, **others)

    def loss_function(self, recon_x, x, mu, log_var, z):
        _, bce, _ = super().loss_function(recon_x, x, mu, log_var, z)
        kl = perturbed_kl(mu, log_var, self.u, self.coupling * self.strength)
        return self.weight * bce + kl.mean(), bce, kl.mean()
