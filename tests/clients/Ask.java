import java.net.HttpURLConnection;
import java.net.URL;

/** Asks for each address and prints status and body. */
public class Ask {
    public static void main(String[] addresses) throws Exception {
        for (String address : addresses) {
            HttpURLConnection asked = (HttpURLConnection) new URL(address).openConnection();
            int status = asked.getResponseCode();
            var body = status < 400 ? asked.getInputStream() : asked.getErrorStream();
            System.out.println(status + " " + new String(body.readAllBytes()));
        }
    }
}
